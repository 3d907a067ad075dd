from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.errors import NoReferenceError, ReferencesError
from pytest_dsr1.gate import decision
from pytest_dsr1.gate.noise import Level
from pytest_dsr1.gate.plan import GatePlan, UndecidableError, gate_plan, gates_of
from pytest_dsr1.gate.reference_file import load, noise_of, write
from pytest_dsr1.gate.references import References
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers import reference_store, values
from tests.helpers.reference_store import FACTS, NODE, NOW, OTHER_NODE, references, scattered
from tests.helpers.unlistable import unlistable


def gated_scenario(**gate: Any) -> Scenario:
    return values.scenario(load={"concurrency": 2, "num_requests": 24}, gate=gate)


def some(count: int, **changes: Any) -> References:
    return references(runs=scattered(count), **changes)


def planned(store: Path, accepted: References, node: str | None = NODE, **gate: Any) -> GatePlan:
    write(store, accepted)
    one = gated_scenario(**gate)
    return gate_plan(store, load(store, one, NOW), one, node, NOW)


def test_what_is_said_before_gpu_time_is_spent(tmp_path: Path) -> None:
    plan = planned(tmp_path, some(16, requests=24, warmup_requests=2), delta_percent=2.0)
    about, cost, most = plan.statement()
    innocent, guilty = plan.design.expected_runs()
    assert about.startswith(
        "small: gate on total output throughput of the first 24 requests, against 16 references on node gpu-"
    )
    assert about.endswith("(noise 0.54% between starts)")
    assert cost == (
        f"small: the gate decides in at most {plan.design.max_runs} runs "
        f"({plan.cost(plan.design.max_runs)}) whether there is a loss of 2%. "
        f"It needs {innocent:.1f} runs ({plan.cost(innocent)}) on average if there is no loss, {guilty:.1f} "
        f"if there is one. The smallest loss that gate.max_runs = 64 runs can detect is "
        f"{math.ceil(plan.resolved_percent * 100) / 100}%"
    )
    starts = 3 * plan.design.max_runs
    assert most == (
        "small: these numbers include only runs that count. Two kinds of run do not count and are "
        f"repeated: the first start of new software on this node ({plan.cost(1)} more), and an INVALID run. "
        f"At most {starts} starts in all ({plan.cost(starts)}, if the first start sends all requests to "
        "judge targets too)"
    )
    assert 1 < innocent < guilty < plan.design.max_runs
    assert plan.resolved_percent < 2.0
    assert replace(plan, resolved_percent=2.0).sure
    assert plan.run_s == pytest.approx(310.2 + 590.1 / (1 - 4 / 24))
    load = plan.scenario.load.model_copy(update={"concurrency": "all"})
    unlimited = replace(plan, scenario=plan.scenario.model_copy(update={"load": load}))
    assert unlimited.run_s == pytest.approx(310.2 + 590.1 / (1 - 2 / 24)), "how many drain is unknown"


def test_one_request_at_least_is_measured(tmp_path: Path) -> None:
    """Of four, two are warm-up and two drain: the median window is of the one that is left."""
    assert planned(tmp_path, some(16)).run_s == pytest.approx(310.2 + 590.1 * 4)


@pytest.mark.parametrize(
    ("gpus", "runs", "run_s", "cost"),
    [
        (0, 1, 119.6, "120 s"),
        (0, 1, 120.0, "2 min"),
        (0, 10, 60.0, "10 min"),
        (1, 1, 4499.5, "1.2 GPU-h"),
        (1, 1, 4500.5, "1.3 GPU-h"),
        (8, 2, 4500.5, "20 GPU-h"),
    ],
)
def test_the_cost_is_time_or_that_of_each_gpu(
    tmp_path: Path, gpus: int, runs: int, run_s: float, cost: str
) -> None:
    hardware: dict[str, Any] = {"gpu": "NVIDIA H200", "count": gpus} if gpus else {}
    plan = replace(
        planned(tmp_path, some(16)),
        scenario=values.scenario(hardware=hardware),
        runs=(reference_store.run(startup_s=run_s, window_s=0.0),),
    )
    assert plan.cost(runs) == cost


def test_the_largest_cost_has_the_first_run_whole_and_every_repeat(tmp_path: Path) -> None:
    """24 requests are sent for the targets, 12 for the gate."""
    plan = planned(tmp_path, some(16, requests=12, warmup_requests=2))
    starts = 3 * plan.design.max_runs
    whole_s = 310.2 + (plan.run_s - 310.2) * 2
    largest_s = (starts - 1) * plan.run_s + whole_s
    assert f" At most {starts} starts in all ({largest_s / 60:.0f} min, if " in plan.statement()[2]


def test_without_a_node_that_with_the_most_references(tmp_path: Path) -> None:
    both = references(runs=(*scattered(12), *scattered(14, node=OTHER_NODE)))
    plan = planned(tmp_path, both, None)
    assert {each.node for each in plan.runs} == {OTHER_NODE}


def test_too_few_on_this_node(tmp_path: Path) -> None:
    with pytest.raises(NoReferenceError, match="found 0 reference runs on node"):
        planned(tmp_path, some(16), "GPU-x")


def test_of_one_day(tmp_path: Path) -> None:
    runs = tuple(replace(each, at=NOW - timedelta(days=1, minutes=n)) for n, each in enumerate(scattered(16)))
    plan = planned(tmp_path, references(runs=runs))
    assert plan.warnings == (
        "small: all references are from one day, so they do not show day-to-day variation: a day-to-day "
        "shift of half the noise could raise the false-alarm rate to 7%; record on more days",
    )


def test_a_setting_that_matches_nothing_is_reported_by_the_gate(tmp_path: Path) -> None:
    """It may be set for this run alone, after the references were accepted."""
    plan = planned(tmp_path, some(16), under_test={"driverr": True, "driver": True})
    assert plan.warnings == (
        "small: gate.under_test: 'driverr' matches no fact that the gate compares (did you mean "
        "'driver'?); see `fingerprint` in measurement.json for the list",
    )


def test_of_a_class_of_nodes(tmp_path: Path) -> None:
    """What nodes differ by is noise that no number of runs averages out."""
    both = references(runs=(*scattered(16), *scattered(16, node=OTHER_NODE)))
    any_node = {"gpu.uuids": True}
    plan = planned(tmp_path, both, "GPU-x", under_test=any_node, delta_percent=5.0)
    assert len(plan.runs) == 32
    assert plan.design.level.freedom == 30
    assert " on 2 nodes " in plan.statement()[0]
    alone = planned(tmp_path, some(16), NODE, under_test=any_node)
    assert alone.warnings == (
        "small: all references are from one node, so they do not show node-to-node variation",
    )
    with pytest.raises(
        NoReferenceError,
        match=r"all 16 reference runs are from node gpu-\w+, but this is node gpu-\w+: node-to-node "
        "variation is unknown; ",
    ):
        planned(tmp_path, some(16), "GPU-x", under_test=any_node)


def test_a_delta_that_noise_cannot_resolve(tmp_path: Path) -> None:
    with pytest.raises(UndecidableError) as caught:
        planned(tmp_path, some(16), delta_percent=0.7, max_runs=12)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "small: a loss of 0.7% cannot be separated from the noise between starts, 0.54% in 16 references, "
        "within gate.max_runs = 12 runs"
    )
    assert lines[1].startswith("  what would resolve it: gate.delta_percent of at least 1.")
    assert lines[2].startswith("  or noise of at most 0.")
    assert lines[2].endswith(
        "%: check other work on the machine, power and clock limits, temperatures, and runs that stand out "
        "in `pytest-dsr1 references show small`"
    )
    assert lines[3:] == [
        "  a larger gate.max_runs does not help: even 100 runs are not enough",
        "  more references do not help: even 100 are not enough",
    ]


def test_no_delta_is_advised_that_a_scenario_cannot_have(tmp_path: Path) -> None:
    wild = tuple(replace(run, value=4.0 if number % 2 else 16.0) for number, run in enumerate(scattered(16)))
    with pytest.raises(UndecidableError) as caught:
        planned(tmp_path, references(runs=wild), delta_percent=2.0, max_runs=12)
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  what would resolve it: noise of at most ")
    assert lines[2] == "  a larger gate.delta_percent does not help, because its maximum is 50"


@pytest.mark.parametrize("runs", [9, 11, 12])
def test_what_would_resolve_it_does(tmp_path: Path, runs: int) -> None:
    with pytest.raises(UndecidableError) as caught:
        planned(tmp_path, some(16), delta_percent=0.7, max_runs=runs)
    wanted = float(str(caught.value).splitlines()[1].rsplit(" ", 1)[1])
    assert planned(tmp_path, some(16), delta_percent=wanted, max_runs=runs)


def test_more_runs_may_resolve_it(tmp_path: Path) -> None:
    with pytest.raises(UndecidableError, match=r"\n  or gate.max_runs of at least 17\n"):
        planned(tmp_path, some(16), delta_percent=1.0, max_runs=5)
    assert planned(tmp_path, some(16), delta_percent=1.0, max_runs=17)


@pytest.mark.parametrize("delta", [0.681, 0.6995])
def test_less_noise_may_resolve_it(tmp_path: Path, delta: float) -> None:
    """0.33% is enough for both, and 0.34% is not."""
    with pytest.raises(UndecidableError, match=r"\n  or noise of at most 0\.33%: check other work on "):
        planned(tmp_path, some(16), delta_percent=delta, max_runs=12)
    noise = planned(tmp_path, some(16)).design.level.noise_percent
    for other, enough in ((0.33, True), (0.34, False)):
        runs = tuple(replace(run, value=8.0 * (run.value / 8.0) ** (other / noise)) for run in scattered(16))
        plan = planned(tmp_path, references(runs=runs), delta_percent=delta, max_runs=12)
        assert plan.design.level.noise_percent == pytest.approx(other)
        assert plan.sure == enough


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (0.7364, "or 100 references with this noise; record more with "),
        (0.7358, "more references do not help: even 100 are not enough"),
    ],
)
def test_up_to_a_hundred_references_may_resolve_it(tmp_path: Path, delta: float, said: str) -> None:
    """A hundred of this noise resolve 0.7361%, and another one 0.7355%."""
    known = planned(tmp_path, some(16)).design.level
    resolves = [
        decision.resolved(Level(0.0, known.sd, count - 1, 1 / count, count), 0.005, 16)
        for count in (99, 100, 101)
    ]
    assert [-100 * math.expm1(-each) for each in resolves] == pytest.approx(
        [0.7367, 0.7361, 0.7355], abs=5e-5
    )
    with pytest.raises(UndecidableError) as caught:
        planned(tmp_path, some(16), delta_percent=delta, max_runs=16)
    assert said in str(caught.value)


def test_one_more_reference_may_resolve_it(tmp_path: Path) -> None:
    """Two of ten are from one node, so the noise has one degree of freedom; another run gives it a second."""
    runs = tuple(
        reference_store.run(number, node=f"GPU-{max(number, 1)}", value=8.0 + (0.02, -0.02)[number % 2])
        for number in range(10)
    )
    with pytest.raises(UndecidableError, match=r"\n  or 11 references with this noise; record more with "):
        planned(
            tmp_path,
            references(runs=runs),
            under_test={"gpu.uuids": True},
            delta_percent=5.0,
            max_runs=2,
        )


def test_noise_that_may_by_chance_be_too_much_is_no_refusal(tmp_path: Path) -> None:
    """The noise of sixteen is 0.74 to 1.55 times what they show; the gate says what it may be."""
    plan = planned(tmp_path, some(16), delta_percent=1.0, max_runs=12)
    assert plan.design.max_runs == 12
    assert plan.resolved_percent > 1.0
    assert plan.warnings == (), "no doubt of a verdict that it reaches"
    assert plan.statement()[-1] == (
        "small: the gate may end INCONCLUSIVE: gate.max_runs = 12 runs may not be enough at the noise that "
        "the 16 references show (0.54%; the real noise is 0.4 to 0.83%); to be sure that it decides: "
        f"gate.delta_percent of at least {math.ceil(plan.resolved_percent * 10) / 10:g}, or record "
        "more with `pytest --dsr1-profile=small --dsr1-reference=record` "
        "(and the same --dsr1-set, if any), then `pytest-dsr1 references "
        "accept small --reason TEXT`"
    )
    assert plan.statement()[1].startswith("small: the gate may decide in at most 12 runs ")
    assert " whether there is a loss of 1%. It needs " in plan.statement()[1]
    sure = planned(tmp_path, some(16), delta_percent=1.5, max_runs=12)
    assert sure.warnings == ()
    assert sure.design.max_runs < 12


def test_each_accepted_scenario_is_a_gate_of_the_suite(tmp_path: Path) -> None:
    assert gates_of(tmp_path) == 0
    strict = planned(tmp_path, some(16))
    for number in range(19):
        write(tmp_path, some(16, profile=f"other-{number}"))
    assert gates_of(tmp_path) == 20
    (tmp_path / "notes.yaml").write_text("a: 1\n", encoding="utf-8")
    damaged = write(tmp_path, some(16, profile="damaged"))
    damaged.write_text(damaged.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    assert gates_of(tmp_path) == 20
    stricter = gate_plan(tmp_path, some(16), gated_scenario(), NODE, NOW)
    assert stricter.design.fail[0] > strict.design.fail[0]


def test_the_noise_of_a_target(tmp_path: Path) -> None:
    presumed = noise_of(
        tmp_path, gated_scenario(presumed_noise_percent=1.5), FACTS, "total_output_throughput", NOW
    )
    assert (presumed.percent, presumed.source) == (1.5, "presumed by gate.presumed_noise_percent")
    write(tmp_path, some(16))
    measured = noise_of(tmp_path, gated_scenario(), FACTS, "total_output_throughput", NOW)
    assert measured.percent == pytest.approx(0.54, abs=0.01)
    assert measured.source == "from 16 accepted references"
    assert noise_of(tmp_path, gated_scenario(), FACTS, "average_ttft", NOW).source.startswith("presumed")
    elsewhere = {**FACTS, "dataset.content": "another"}
    other = noise_of(tmp_path, gated_scenario(), elsewhere, "total_output_throughput", NOW)
    assert other.source.startswith("presumed"), "that of other requests says nothing"


def test_a_store_that_cannot_be_listed_makes_no_gate_less_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = some(16)
    write(tmp_path, accepted)
    unlistable(monkeypatch, tmp_path)
    for look in (
        lambda: gates_of(tmp_path),
        lambda: gate_plan(tmp_path, accepted, gated_scenario(), NODE, NOW),
    ):
        with pytest.raises(ReferencesError) as caught:
            look()
        assert str(caught.value).startswith(f"{tmp_path}: cannot be listed: Permission denied; `ls -ld ")
