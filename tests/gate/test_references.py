"""References as values: which runs count, how many are enough, when they are old."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from pytest_dsr1.errors import NoReferenceError
from pytest_dsr1.gate.references import (
    Acceptance,
    how_to_get_more,
    noise_by,
    too_old,
    usable,
    with_store,
    with_sweep,
    within_node_variance,
)
from pytest_dsr1.verdict.targets import Noise
from tests.helpers.reference_store import FACTS, NODE, NOW, OTHER_NODE, references, run, scattered
from tests.helpers.values import scenario

MORE = (
    "record more with `pytest --dsr1-profile=small --dsr1-reference=record` "
    "(and the same --dsr1-set, if any), then "
    "`pytest-dsr1 references accept small --reason TEXT`"
)


def test_enough_references() -> None:
    found = references()
    assert usable(found, NODE, NOW) == (found.runs, [])
    assert (found.nodes, found.days) == ({NODE: 16}, 8)


def test_the_limits_themselves_are_enough() -> None:
    assert usable(references(15), NODE, NOW)[1] == []
    assert len(usable(references(10), NODE, NOW)[0]) == 10


def test_the_probes_of_a_node_are_the_medians_of_its_runs() -> None:
    probed = (
        run(0, probes={"fp8_tflops": 1250.0, "memory_read_gb_s": 4380.0}),
        run(1, probes={"fp8_tflops": ["1240", "1100"]}),
        run(2, probes={"fp8_tflops": ["1260", "1300"], "memory_read_gb_s": "unknown"}),
        run(3),
        run(4, probes={"fp8_tflops": 1.0}, node=OTHER_NODE),
    )
    found = references(runs=probed)
    assert found.probes_on(NODE) == {"fp8_tflops": (1250.0, 1250.0), "memory_read_gb_s": (4380.0,)}
    assert found.probes_on(OTHER_NODE) == {"fp8_tflops": (1.0,)}
    assert found.probes_on("cpu") == {}


def test_few_references_are_reported() -> None:
    runs, warnings = usable(references(14), NODE, NOW)
    assert len(runs) == 14
    assert warnings == [
        "small: only 14 of the 15 recommended reference runs on node gpu-95a932d6, so a gate takes more "
        f"runs; {MORE}"
    ]


def test_too_few_references_are_none() -> None:
    with pytest.raises(NoReferenceError) as caught:
        usable(references(9), NODE, NOW)
    assert str(caught.value) == (
        "small: found 9 reference runs on node gpu-95a932d6; at least 10 are required, 15 are recommended; "
        + MORE
    )


def test_another_nodes_runs_do_not_count() -> None:
    with pytest.raises(NoReferenceError) as caught:
        usable(references(), OTHER_NODE, NOW)
    assert str(caught.value) == (
        "small: found 0 reference runs on node gpu-a71f6e13; at least 10 are required, 15 are recommended; "
        f"on other nodes: gpu-95a932d6: 16; {MORE}"
    )


def test_they_do_where_the_node_is_under_test() -> None:
    found = references(runs=(*scattered(8), *scattered(8, node=OTHER_NODE)), under_test={"gpu.uuids": True})
    assert usable(found, "GPU-x", NOW) == (found.runs, [])
    with pytest.raises(NoReferenceError, match="found 9 reference runs on any node"):
        usable(references(9, under_test={"gpu.uuids": True}), OTHER_NODE, NOW)


@pytest.mark.parametrize("node", [NODE, OTHER_NODE, "GPU-x"])
@pytest.mark.parametrize("counts", [(8, 8), (1, 15), (15, 1)])
def test_two_nodes_of_a_class_serve_a_gate_on_each_node(node: str, counts: tuple[int, int]) -> None:
    runs = (*scattered(counts[0]), *scattered(counts[1], node=OTHER_NODE))
    found = references(runs=runs, under_test={"gpu.uuids": True})
    assert usable(found, node, NOW) == (runs, [])


def test_one_node_of_a_class_serves_only_a_gate_on_that_node() -> None:
    found = references(under_test={"gpu.uuids": True})
    assert usable(found, NODE, NOW) == (found.runs, [])
    with pytest.raises(NoReferenceError) as caught:
        usable(found, OTHER_NODE, NOW)
    assert str(caught.value) == (
        "small: all 16 reference runs are from node gpu-95a932d6, but this is node gpu-a71f6e13: "
        "node-to-node variation is unknown; record on at least two nodes, then "
        "`pytest-dsr1 references accept small --reason TEXT`"
    )


def test_nodes_of_one_run_each_say_nothing_of_nodes() -> None:
    runs = tuple(run(number, node=f"GPU-{number}") for number in range(16))
    with pytest.raises(NoReferenceError) as caught:
        usable(references(runs=runs, under_test={"gpu.uuids": True}), NODE, NOW)
    assert str(caught.value) == (
        "small: each of the 16 reference runs is from a different node, so differences between nodes cannot "
        "be separated from differences between starts; at least two runs per node are needed; "
        f"{MORE}"
    )


def test_old_references_are_reported() -> None:
    """By when they ran: who accepts old runs once more makes them no younger."""
    middle = sorted(run.at for run in references().runs)[7]
    found = references(accepted=Acceptance(NOW + timedelta(days=87), "Ann", "again", None))
    assert usable(found, NODE, middle + timedelta(days=90, hours=23))[1] == []
    assert usable(found, NODE, middle + timedelta(days=91))[1] == [
        "small: the references on node gpu-95a932d6, accepted on 2025-06-19, are old: half of the runs were "
        "recorded on or before 2025-03-17, 91 or more days ago (limit 90 days). Machines drift: move "
        f"old runs out of candidates/small, then {MORE}"
    ]
    assert (found.age_days(middle), found.age_days(middle + timedelta(days=91))) == (0, 91)
    assert found.age_days(middle - timedelta(days=2)) == 0, "a clock that was set back makes no run younger"


def test_a_single_old_run_is_reported() -> None:
    found = references(1)
    (warning,) = too_old(found, found.runs, NOW + timedelta(days=91))
    assert warning.startswith("small: the references on node gpu-95a932d6, accepted on 2025-03-24, are old: ")


def test_the_age_is_that_of_the_runs_that_count_here() -> None:
    """One node recorded anew leaves those of another old; of a class of nodes all count."""
    young, aged = scattered(16), scattered(24, node=OTHER_NODE, first=NOW - timedelta(days=200))
    found = references(runs=(*young, *aged))
    assert usable(found, NODE, NOW)[1] == []
    (warning,) = usable(found, OTHER_NODE, NOW)[1]
    assert warning.startswith(
        "small: the references on node gpu-a71f6e13, accepted on 2025-03-24, are old: half of the "
        "runs were recorded on or before "
    )
    assert ", 189 or more days ago (" in warning
    (warning,) = usable(references(runs=found.runs, under_test={"gpu.uuids": True}), NODE, NOW)[1]
    assert warning.startswith(
        "small: the references on 2 nodes, accepted on 2025-03-24, are old: half of the runs "
    )
    assert ", 181 or more days ago (" in warning


def test_mean_and_noise_within_nodes() -> None:
    # On each node the logarithms are one apart by 2%: sd 1.41%, whatever the nodes differ by.
    steps = [(0.0, NODE), (0.02, NODE), (1.0, OTHER_NODE), (1.02, OTHER_NODE)]
    runs = tuple(run(i, value=math.exp(x), node=node) for i, (x, node) in enumerate(steps))
    found = references(runs=runs)
    assert found.mean == pytest.approx(math.exp(0.51))
    assert found.noise_percent == pytest.approx(2 / math.sqrt(2))
    assert references(1).noise_percent is None


def test_a_node_with_a_single_run_says_nothing_of_the_noise_of_the_others() -> None:
    """Variances of 2e-4 and 4e-4, of one and two degrees of freedom; a single run has neither."""
    values = {NODE: [5.0], OTHER_NODE: [0.0, 0.02], "GPU-x": [1.0, 1.02, 1.04]}
    assert within_node_variance(values) == pytest.approx((2e-4 + 2 * 4e-4) / 3)
    assert within_node_variance({NODE: [5.0], OTHER_NODE: [0.0]}) is None
    runs = (
        run(0),
        run(1, node=OTHER_NODE, value=math.exp(1.0)),
        run(2, node=OTHER_NODE, value=math.exp(1.02)),
    )
    assert references(runs=runs).noise_percent == pytest.approx(2 / math.sqrt(2))


def test_the_noise_of_a_metric_is_that_of_like_references_or_presumed() -> None:
    presumed = Noise(scenario().gate.presumed_noise_percent)
    found, metric = references(), "total_output_throughput"

    def noise(of: object, facts: object = FACTS, name: str = metric) -> Noise:
        return noise_by(of, scenario(), facts, name)  # type: ignore[arg-type]

    assert found.noise_percent is not None
    assert noise(found) == Noise(found.noise_percent, 16)
    assert noise(found, {**FACTS, "driver": "580"}) == Noise(found.noise_percent, 16), "a gate judges it"
    assert noise(None) == noise(found, name="average_ttft") == presumed
    assert noise(found, name="per_gpu_output_throughput") == noise(found), "the same but for a factor"
    assert noise(found, {**FACTS, "gpu.power_limit_w": 500.0}) == presumed
    assert noise(references(1)) == presumed


def test_commands_in_a_message_name_the_sweep_of_an_option() -> None:
    text = f"{how_to_get_more('small.tp-8')}; run `pytest --dsr1-profile=small.tp-8 --dsr1-gate`, `git log`"
    assert with_sweep(text, []) == text
    swept = with_sweep(text, ["tp=4,8", "a=b c"])
    assert swept == (
        "record more with `pytest --dsr1-profile=small.tp-8 --dsr1-reference=record --dsr1-sweep=tp=4,8 "
        "--dsr1-sweep='a=b c'` (and the same --dsr1-set, if any), then `pytest-dsr1 references accept "
        "small.tp-8 --reason TEXT --sweep=tp=4,8 --sweep='a=b c'`; run `pytest --dsr1-profile=small.tp-8 "
        "--dsr1-gate --dsr1-sweep=tp=4,8 --dsr1-sweep='a=b c'`, `git log`"
    )
    assert with_sweep(swept, ["tp=4,8", "a=b c"]) == swept


def test_commands_in_a_message_name_the_store_of_an_option() -> None:
    text = f"too few; {how_to_get_more('small')}; see `pytest-dsr1 references show small` and `git log`"
    assert with_store(text, None) == text
    assert with_store(text, "/srv/my refs") == (
        "too few; record more with `pytest --dsr1-profile=small --dsr1-reference=record "
        "--dsr1-store='/srv/my refs'` (and the same --dsr1-set, if any), then `pytest-dsr1 references accept "
        "small --reason TEXT --store '/srv/my refs'`; see `pytest-dsr1 references show small --store "
        "'/srv/my refs'` and `git log`"
    )
    once = with_store(text, "s")
    assert with_store(once, "s") == once
