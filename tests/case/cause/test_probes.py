"""Probes as evidence: what they are held against, and by how much they differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.case.cause.evidence import Probed
from pytest_dsr1.case.cause.probes import WHAT, probed
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.probe.values import KINDS
from pytest_dsr1.machine.values import FactValue, Fingerprint, Telemetry
from tests.helpers.reference_store import NODE, references, run
from tests.helpers.values import measurement

NODE_FACT: dict[str, FactValue] = {"gpu.uuids": NODE.split(",")}


def with_probes(**probes: FactValue) -> References:
    return references(runs=tuple(replace(run(number), probes=probes) for number in range(10)))


def found(
    accepted: References | None,
    *,
    green: dict[str, FactValue] | None = None,
    other_work: bool = False,
    of_good: bool = True,
    gpus: tuple[int, ...] = (0, 1),
    **probes: FactValue,
) -> Probed | None:
    facts = {**NODE_FACT, **{f"probe.{name}": value for name, value in probes.items()}}
    made = measurement(fingerprint=Fingerprint(facts), telemetry=Telemetry(gpus=gpus))
    return probed(made, accepted, green or {}, other_work=other_work, of_good=of_good)


def test_a_run_that_was_not_probed() -> None:
    assert found(with_probes(memory_bandwidth_gb_s=4258.0)) is None
    after: dict[str, Any] = {"after.memory_bandwidth_gb_s": 4258.0}
    assert found(None, **after) is None, "only probes before the run count"
    assert found(None, bf16_sm_clock_mhz=1500.0) is None, "a clock is not a capability"


def test_against_the_references_of_this_node() -> None:
    seen = found(with_probes(memory_bandwidth_gb_s=4000.0, fp8_tflops=700.0), memory_bandwidth_gb_s=3960.0)
    assert seen is not None
    assert (seen.against, seen.smallest) == ("references", {"memory_bandwidth": 0.3})
    assert seen.overall == pytest.approx({"memory_bandwidth": -1.0})
    assert seen.single == {}
    assert seen.slow() == pytest.approx({"memory_bandwidth": -1.0})


def test_references_that_miss_the_target_show_no_good_machine() -> None:
    """They still show that it is slower than it was; a green run that was probed is better."""
    accepted, now = with_probes(memory_bandwidth_gb_s=4000.0), 3960.0
    seen = found(accepted, memory_bandwidth_gb_s=now, of_good=False)
    assert seen is not None
    assert (seen.against, seen.as_when_good) == ("references", False)
    assert seen.overall == pytest.approx({"memory_bandwidth": -1.0})
    green: dict[str, FactValue] = {"probe.memory_bandwidth_gb_s": 3960.0}
    seen = found(accepted, green=green, memory_bandwidth_gb_s=now, of_good=False)
    assert seen is not None
    assert (seen.against, seen.as_when_good) == ("green run", True)
    seen = found(accepted, green=green, memory_bandwidth_gb_s=now)
    assert seen is not None
    assert (seen.against, seen.as_when_good) == ("references", True)


def test_a_gpu_that_differs_from_its_own_references() -> None:
    seen = found(with_probes(memory_bandwidth_gb_s=4000.0), memory_bandwidth_gb_s=["4000", "3600"])
    assert seen is not None
    assert seen.overall == {"memory_bandwidth": 0.0}, "one of two is not all of them"
    assert seen.single[1] == pytest.approx({"memory_bandwidth": -10.0})
    assert seen.slow() == pytest.approx({"memory_bandwidth of GPU 1": -10.0})
    usual = found(with_probes(memory_bandwidth_gb_s=["4000", "3600"]), memory_bandwidth_gb_s=["4000", "3600"])
    assert usual is not None
    assert usual.slow() == {}, "it was as slow when the references were recorded"


def test_gpus_that_agree_are_held_against_references_that_do_not() -> None:
    seen = found(with_probes(memory_bandwidth_gb_s=["4000", "3600"]), memory_bandwidth_gb_s=3780.0)
    assert seen is not None
    assert seen.against == "references"
    assert seen.single[0] == pytest.approx({"memory_bandwidth": -5.5})
    assert seen.single[1] == pytest.approx({"memory_bandwidth": 5.0})


def test_a_single_gpu_is_all_of_them() -> None:
    seen = found(with_probes(memory_bandwidth_gb_s=4000.0), memory_bandwidth_gb_s=3600.0, gpus=(0,))
    assert seen is not None
    assert seen.slow() == pytest.approx({"memory_bandwidth": -10.0})


def test_without_references_gpus_are_held_against_each_other() -> None:
    seen = found(None, memory_bandwidth_gb_s=["4000", "3600"], bf16_tflops=400.0)
    assert seen is not None
    assert seen.against == "peers"
    assert seen.single[1] == pytest.approx({"memory_bandwidth": -10.0})
    assert set(seen.smallest) == {"memory_bandwidth"}, "GPUs that agree have one value"
    other_node = references(runs=tuple(replace(run(n), node="GPU-z", probes={}) for n in range(10)))
    assert found(other_node, memory_bandwidth_gb_s=4000.0) == Probed("peers")


def test_without_references_the_last_green_run_counts() -> None:
    green: dict[str, FactValue] = {"probe.memory_bandwidth_gb_s": 4000.0, "probe.host_to_gpu_gb_s": 55.0}
    seen = found(None, green=green, memory_bandwidth_gb_s=3960.0, bf16_tflops=660.0)
    assert seen is not None
    assert (seen.against, seen.as_when_good) == ("green run", True)
    assert seen.overall == pytest.approx({"memory_bandwidth": -1.0})
    assert seen.smallest == {"memory_bandwidth": 0.3}
    accepted = found(with_probes(memory_bandwidth_gb_s=4400.0), green=green, memory_bandwidth_gb_s=3960.0)
    assert accepted is not None
    assert accepted.against == "references"
    assert accepted.overall == pytest.approx({"memory_bandwidth": -10.0})


def test_a_time_is_slow_if_it_is_longer() -> None:
    seen = found(with_probes(all_reduce_256mib_gb_s=300.0), other_work=True, all_reduce_256mib_gb_s=150.0)
    assert seen is not None
    assert seen.overall == pytest.approx({"allreduce": -50.0})
    assert seen.other_work


def test_a_time_that_doubles_is_half_the_speed() -> None:
    accepted = with_probes(all_reduce_64kib_us=66.0, peer_side_by_side_gb_s=388.0)
    seen = found(accepted, all_reduce_64kib_us=132.0, peer_side_by_side_gb_s=194.0)
    assert seen is not None
    assert seen.overall == pytest.approx({"allreduce_small": -50.0, "peer_ring": -50.0})
    assert seen.smallest == {"allreduce_small": 12.0, "peer_ring": 1.0}


def test_probes_after_the_run_are_held_against_those_before_it() -> None:
    """A difference that a probe cannot tell does not count, nor does one without a probe before the run."""
    after: dict[str, Any] = {
        "after.memory_bandwidth_gb_s": ["4255", "3995"],
        "after.bf16_tflops": 660.0,
        "after.fp8_tflops": 600.0,
        "after.all_reduce_64kib_us": 33.0,
    }
    before: dict[str, Any] = {"memory_bandwidth_gb_s": 4255.0, "bf16_tflops": 680.0}
    seen = found(None, all_reduce_64kib_us=66.0, **before, **after)
    assert seen is not None
    assert seen.slower_after == pytest.approx({"memory_bandwidth": -6.11}, abs=0.01)
    for after_us, slower in ((75.0, set[str]()), (75.1, {"allreduce_small"})):
        later: dict[str, Any] = {"after.all_reduce_64kib_us": after_us}
        seen = found(None, all_reduce_64kib_us=66.0, **later)
        assert seen is not None
        assert seen.slower_after.keys() == slower, "this probe can tell 12%"


@pytest.mark.parametrize("slow", [1, 4, 5, 6])
def test_slow_gpus_are_held_against_the_fast_ones(slow: int) -> None:
    """However many are slow, also most of them."""
    values = ["4255"] * (8 - slow) + ["3995"] * slow
    seen = found(None, gpus=tuple(range(8)), memory_bandwidth_gb_s=values)
    assert seen is not None
    names = [f"memory_bandwidth of GPU {gpu}" for gpu in range(8 - slow, 8)]
    assert [name for name in seen.slow() if "of GPU" in name] == names


def test_references_of_another_number_of_gpus_do_not_count() -> None:
    accepted = with_probes(memory_bandwidth_gb_s=["1", "2", "3"])
    assert found(accepted, memory_bandwidth_gb_s=["4000", "3600"]) == found(
        None, memory_bandwidth_gb_s=["4000", "3600"]
    )


def test_every_probe_of_the_rules_exists() -> None:
    names: Any = set(WHAT)
    assert names <= KINDS.keys()


def test_a_value_of_all_gpus_is_no_value_of_the_first() -> None:
    accepted = with_probes(
        memory_bandwidth_gb_s=4000.0, peer_gb_s=["400", "400"], host_to_gpu_gb_s=["55", "55"]
    )
    facts: dict[str, FactValue] = {
        **NODE_FACT,
        "probe.memory_bandwidth_gb_s": 3800.0,
        "probe.peer_gb_s": ["200", "400"],
        "probe.host_to_gpu_gb_s": ["44", "55"],
    }
    made = measurement(fingerprint=Fingerprint(facts), telemetry=Telemetry(gpus=(1, 0)))
    seen = probed(made, accepted, {}, other_work=False, of_good=True)
    assert seen is not None
    assert seen.overall["memory_bandwidth"] == pytest.approx(-5.0)
    assert seen.single[0] == pytest.approx({"peer_copy": 0.0, "host_link_to": 0.0})
    assert seen.single[1] == pytest.approx({"peer_copy": -50.0, "host_link_to": -20.0})


def test_nodes_are_no_measure_of_each_other_in_what_all_gpus_do() -> None:
    """By how much healthy nodes differ in it is unknown."""
    facts: dict[str, FactValue] = {
        **NODE_FACT,
        "probe.memory_bandwidth_gb_s": ["4258", "4258", "4258", "4000"],
        "probe.all_reduce_64kib_us": ["60", "90"],
        "probe.fp8_tflops": ["none", "none", "1200", "1200"],
    }
    gpus = ("n1:0", "n1:1", "n2:0", "n2:1")
    made = measurement(fingerprint=Fingerprint(facts), telemetry=Telemetry(gpus=gpus))
    seen = probed(made, None, {}, other_work=False, of_good=True)
    assert seen is not None
    assert seen.against == "peers"
    assert seen.overall == {"memory_bandwidth": 0.0}
    assert seen.single["n2:1"] == pytest.approx({"memory_bandwidth": -6.06}, abs=0.01)
