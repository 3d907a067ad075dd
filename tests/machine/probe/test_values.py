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
    merged,
    numbers,
    unprobed,
)
from tests.helpers.probes import of_all, peers, probe, probes


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


COPY, LATENCY = "memory_bandwidth_gb_s", "all_reduce_64kib_us"


def test_the_probes_of_nodes_have_the_names_of_the_run() -> None:
    pair = Probe("peer_gb_s", (400.0, 401.0), ((3, 0), (0, 3)), 2.0)
    one = Probes("NVIDIA H200", (3, 0), (Probe(COPY, (1.0, 2.0), ((3,), (0,)), 1.0), pair), {}, 20.0)
    other = Probes("NVIDIA H200", (7,), (Probe(COPY, (4.0,), ((7,),), 3.0),), {"fp8_tflops": "no FP8"}, 30.0)
    found = merged({"node10": one, "node2": other})
    assert (found.model, found.seconds) == ("NVIDIA H200", 30.0)
    assert found.gpus == ("node10:3", "node10:0", "node2:7")
    copy, peer = found.probes
    assert copy == Probe(COPY, (1.0, 2.0, 4.0), (("node10:3",), ("node10:0",), ("node2:7",)), 3.0)
    assert peer.gpus == (("node10:3", "node10:0"), ("node10:0", "node10:3"))
    assert [gpus for gpus, _ in peer.by_gpu] == [("node10:3",), ("node10:0",)]


def test_the_only_node_has_no_name() -> None:
    one = probes(probe(COPY, 1.0, 2.0))
    assert merged({"": one}) == one


def test_nodes_with_other_gpus_have_no_peak() -> None:
    of_nodes = {"n1": probes(probe(COPY, 1.0)), "n2": probes(probe(COPY, 1.0), model="NVIDIA B200")}
    assert merged(of_nodes).model is None
    assert merged({"n1": of_nodes["n1"], "n2": unprobed([0], "no driver")}).model == "NVIDIA H200"


def test_facts_are_those_of_all_nodes_in_their_order() -> None:
    fast = probes(probe(COPY, 4258.0, 4259.0), of_all(LATENCY, 60.0, 2), peers(2, 400.0))
    slow = probes(probe(COPY, 4258.0, 4000.0), of_all(LATENCY, 90.0, 2), peers(2, 401.0))
    assert facts({"n1": fast, "n2": slow}) == {
        "probe.memory_bandwidth_gb_s": ["4258", "4259", "4258", "4000"],
        "probe.peer_gb_s": 400.5,
        "probe.all_reduce_64kib_us": ["60", "90"],
    }


def test_what_a_node_could_not_measure_is_none_in_the_facts() -> None:
    good = probes(probe(COPY, 4258.0, 4259.0), of_all(LATENCY, 60.0, 2), peers(2, 400.0))
    assert facts({"n1": unprobed([0, 1], "no driver"), "n2": good}) == {
        "probe.memory_bandwidth_gb_s": ["none", "none", "4258", "4259"],
        "probe.peer_gb_s": ["none", "none", "400", "400"],
        "probe.all_reduce_64kib_us": ["none", "60"],
    }
    assert facts({"": unprobed([0, 1], "no driver")}) == {}


def test_a_node_with_one_gpu_has_no_peers_to_miss() -> None:
    good = probes(of_all(LATENCY, 60.0, 2), peers(2, 400.0))
    assert facts({"n1": good, "n2": unprobed([0], "no driver")}) == {
        "probe.peer_gb_s": 400.0,
        "probe.all_reduce_64kib_us": 60.0,
    }


def test_nothing_measured_is_missing_for_one_reason() -> None:
    assert unprobed([3], "no driver").missing == dict.fromkeys(expected(1), "no driver")
    assert unprobed(["n1:0", "n1:1"], "no driver").not_probed == ("not probed: no driver",)
