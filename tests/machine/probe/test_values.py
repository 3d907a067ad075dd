"""The values of probes, and the facts that they become."""

from __future__ import annotations

import pytest

from pytest_dsr1.machine.probe.values import (
    KINDS,
    Probe,
    Probes,
    alike,
    expected,
    expected_s,
    facts,
    numbers,
)
from tests.helpers.probes import probe, probes


def test_every_probe_says_what_it_can_show_and_why() -> None:
    for kind in KINDS.values():
        assert 0 < kind.smallest_percent <= 12
        assert kind.cards_percent >= (kind.smallest_percent if kind.of != "all" else 0)
        assert "H200" in kind.source
    one = probe("memory_bandwidth_gb_s", 4258.0)
    assert (one.unit, one.smallest_percent) == ("GB/s", 0.3)


def test_one_gpu_has_no_peer() -> None:
    assert not [name for name in expected(1) if name.startswith(("peer", "all_reduce"))]
    assert expected(8) == tuple(KINDS)
    assert (expected_s(1), expected_s(2), expected_s(8)) == (12.0, 20.0, 68.0)


def test_gpus_that_agree_have_one_value() -> None:
    found = facts({"": probes(probe("memory_bandwidth_gb_s", 4258.04, 4259.0, 4250.0))})
    assert found == {"probe.memory_bandwidth_gb_s": 4258.0}


def test_gpus_that_differ_have_a_list() -> None:
    found = facts({"": probes(probe("memory_bandwidth_gb_s", 4258.04, 4000.0))}, "probe.after.")
    assert found == {"probe.after.memory_bandwidth_gb_s": ["4258", "4000"]}


def test_pairs_become_the_slowest_of_each_gpu() -> None:
    pairs = {(0, 1): 400.0, (1, 0): 390.0, (0, 2): 300.0, (2, 0): 400.0, (1, 2): 399.0, (2, 1): 400.0}
    one = Probe("peer_gb_s", tuple(pairs.values()), tuple(pairs), 1.0)
    assert one.by_gpu == (((0,), 300.0), ((1,), 390.0), ((2,), 300.0))
    assert facts({"": probes(one)}) == {"probe.peer_gb_s": ["300", "390", "300"]}


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        (4258.0, 4270.0, True),
        (4258.0, 4272.0, False),
        (4258.0, ["4258", "4270"], True),
        (["4258", "4000"], ["4259", "4001"], True),
        (["4258", "4000"], ["4000", "4258"], False),
        (["4258", "4000"], ["4258", "4000", "4000"], False),
        (4258.0, None, False),
        (None, None, True),
        ("fast", "fast", True),
    ],
)
def test_facts_are_equal_as_far_as_a_probe_can_show(old: object, new: object, *, equal: bool) -> None:
    assert alike("probe.memory_bandwidth_gb_s", old, new) is equal
    assert alike("probe.memory_bandwidth_gb_s", new, old) is equal
    assert alike("probe.after.memory_bandwidth_gb_s", new, old) is equal


def test_a_probe_of_a_later_version_is_compared_as_it_is() -> None:
    assert alike("probe.new", 1.0, 1.0)
    assert not alike("probe.new", 1.0, 1.0001)


@pytest.mark.parametrize("fact", [None, "fast", [], ["4", "None"], 0.0, -1.0, float("nan"), float("inf")])
def test_what_is_not_a_rate_is_no_number(fact: object) -> None:
    assert numbers(fact) is None


def test_why_probes_are_missing() -> None:
    gone = {"bf16_tflops": "no", "bf16_sm_clock_mhz": "no", "fp8_tflops": "never"}
    some = Probes("H200", (0,), (probe("memory_bandwidth_gb_s", 1.0),), gone)
    assert some.not_probed == ("not probed: BF16 product: no", "not probed: FP8 product: never")
    assert Probes(None, (), missing=dict.fromkeys(KINDS, "no GPU")).not_probed == ("not probed: no GPU",)
    assert Probes(None, ()).not_probed == ()
    clock = Probes("H200", (0,), some.probes, {"bf16_sm_clock_mhz": "no clock"})
    assert clock.not_probed == (), "a clock is no probe"
    long = Probes(None, (), missing={"fp8_tflops": "it failed:\n  out of memory\n"})
    assert long.not_probed == ("not probed: it failed: out of memory",)
