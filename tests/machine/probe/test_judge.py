"""What probes say about a machine: who is slow, who is not, and how near the peak it is."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_dsr1.machine.probe.judge import Judged, judge
from pytest_dsr1.machine.probe.values import KINDS, Probe, Probes, merged
from tests.helpers.probes import of_all, peers, probe, probes

READ = "memory_read_gb_s"
LATENCY = "all_reduce_64kib_us"
PER_GPU = [name for name, kind in KINDS.items() if kind.of == "gpu" and kind.judged]


def said(judged: tuple[Judged, ...], against: str) -> list[str]:
    return [f"{one.verdict}: {one.text}" for one in judged if one.against == against]


def test_a_slow_gpu_is_convicted_by_the_others() -> None:
    values = [4251.0] * 8
    values[5] = 3996.0
    assert said(judge(probes(probe(READ, *values))), "gpus") == [
        "convicted: GPU 5 reads memory 6.0% slower than the other seven (3,996 against 4,251 GB/s)"
    ]


@pytest.mark.parametrize(
    ("slow", "sentence"),
    [
        (4, "GPUs 4-7 read memory 6.0% slower than GPUs 0-3 (3,996 against 4,251 GB/s)"),
        (5, "GPUs 3-7 read memory 6.0% slower than GPUs 0-2 (3,996 against 4,251 GB/s)"),
        (6, "GPUs 2-7 read memory 6.0% slower than GPUs 0-1 (3,996 against 4,251 GB/s)"),
    ],
)
def test_slow_gpus_are_named_together(slow: int, sentence: str) -> None:
    found = judge(probes(probe(READ, *[4251.0] * (8 - slow), *[3996.0] * slow)))
    assert said(found, "gpus") == [f"convicted: {sentence}"]


def test_gpus_that_are_slow_in_different_ways_are_named_apart() -> None:
    found = judge(probes(probe(READ, *[4251.0] * 6, 3996.0, 2000.0)))
    assert said(found, "gpus") == [
        "convicted: GPU 6 reads memory 6.0% slower than GPUs 0-5 (3,996 against 4,251 GB/s)",
        "convicted: GPU 7 reads memory 53.0% slower than GPUs 0-5 (2,000 against 4,251 GB/s)",
    ]


def test_gpus_that_are_alike_are_acquitted() -> None:
    found = judge(probes(probe(READ, *[4251.0] * 7, 4257.0)))
    assert said(found, "gpus") == ["acquitted: all eight GPUs read memory alike, to 0.2%"]
    found = judge(probes(probe("fp8_tflops", 1250.0, 1251.0)))
    assert said(found, "gpus") == ["acquitted: both GPUs multiply FP8 matrices alike, to 0.1%"]


def test_one_gpu_has_no_others() -> None:
    assert said(judge(probes(probe(READ, 4251.0))), "gpus") == []


def test_a_fast_gpu_makes_no_other_slow() -> None:
    assert said(judge(probes(probe(READ, *[4251.0] * 7, 4400.0))), "gpus") == [
        "fact: all eight GPUs read memory, with differences of up to 3.6%"
    ]


def test_of_two_the_slower_one_is_named() -> None:
    assert said(judge(probes(probe("host_to_gpu_gb_s", 55.5, 27.6))), "gpus") == [
        "convicted: GPU 1 copies from the host 50.3% slower than the other (27.6 against 55.5 GB/s)"
    ]


def test_many_gpus_are_counted_in_digits() -> None:
    found = judge(probes(probe(READ, *[4251.0] * 15, 3996.0)))
    assert "slower than the other 15 " in found[0].text


def test_clocks_are_not_judged() -> None:
    found = judge(probes(probe("bf16_sm_clock_mhz", 1980.0, 1200.0), probe("fp8_tflops", 1250.0, 1250.0)))
    assert {one.probe for one in found} == {"fp8_tflops"}


def test_pairs_convict_the_gpu_that_all_slow_ones_have() -> None:
    slow = {f"p2_{n}": 300.0 for n in (0, 1, 3)} | {f"p{n}_2": 300.0 for n in (0, 1, 3)}
    assert said(judge(probes(peers(4, 400.0, **slow))), "gpus") == [
        "convicted: GPU 2 copies to and from the other GPUs 25.0% slower than they do without it "
        "(300 against 400 GB/s)"
    ]


@pytest.mark.parametrize("count", [3, 4, 8])
def test_a_slow_link_convicts_the_pair(count: int) -> None:
    assert said(judge(probes(peers(count, 400.0, p0_1=300.0, p1_0=310.0))), "gpus") == [
        "convicted: GPU copies 0 to 1, 1 to 0 are up to 25.0% slower than those of the other pairs"
    ]


def test_of_two_gpus_one_way_may_be_slow() -> None:
    assert said(judge(probes(peers(2, 400.0, p0_1=300.0))), "gpus") == [
        "convicted: GPU copies 0 to 1 are up to 25.0% slower than those of the other pairs"
    ]


@pytest.mark.parametrize(
    ("count", "named", "percent"),
    [
        (5, "4 to 5, 3 to 4, 2 to 3 and 2 more", "26.0%"),
        (3, "2 to 3, 1 to 2, 0 to 1", "25.5%"),
    ],
)
def test_many_slow_pairs_are_counted(count: int, named: str, percent: str) -> None:
    slow = {f"p{n}_{n + 1}": 300.0 - n for n in range(count)}
    assert said(judge(probes(peers(8, 400.0, **slow))), "gpus") == [
        f"convicted: GPU copies {named} are up to {percent} slower than those of the other pairs"
    ]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_pairs_that_are_alike_are_acquitted(count: int) -> None:
    found = judge(probes(peers(count, 400.0, p0_1=396.0)))
    assert said(found, "gpus") == ["acquitted: all pairs of GPUs copy alike, to 1.1%"]


def test_side_by_side_convicts_no_single_gpu() -> None:
    found = judge(probes(of_all("peer_side_by_side_gb_s", 900.0)), {"peer_side_by_side_gb_s": [2000.0]})
    assert [one.text for one in found] == ["the GPUs copy to each other 55.0% slower than in the references"]


@pytest.mark.parametrize(
    ("now", "before", "sentence"),
    [
        ([4251.0] * 8, [4250.0], "acquitted: all eight GPUs read memory as in the references, to 0.1%"),
        ([4251.0] * 8, [4250.0] * 8, "acquitted: all eight GPUs read memory as in the references, to 0.1%"),
        ([4000.0] * 8, [4250.0], "convicted: all eight GPUs read memory 5.9% slower than in the references"),
        ([4400.0] * 8, [4250.0], "fact: all eight GPUs read memory up to 3.5% faster than in the references"),
        ([4000.0], [4250.0], "convicted: GPU 0 reads memory 5.9% slower than in the references"),
        ([4250.0], [4250.0], "acquitted: GPU 0 reads memory as in the references, to 0.0%"),
        (
            [4250.0, 4000.0],
            [4250.0],
            "convicted: GPU 1 reads memory 5.9% slower than in the references (4,000 against 4,250 GB/s)",
        ),
    ],
)
def test_values_are_held_against_those_of_before(
    now: list[float], before: list[float], sentence: str
) -> None:
    assert said(judge(probes(probe(READ, *now)), {READ: before}), "before") == [sentence]


def test_a_time_is_slow_if_it_is_longer() -> None:
    found = judge(
        probes(of_all("all_reduce_64kib_us", 30.0)), {"all_reduce_64kib_us": [20.0]}, "before the run"
    )
    assert [one.text for one in found] == ["the GPUs reduce 64 KiB 50.0% slower than before the run"]
    found = judge(
        probes(of_all("all_reduce_64kib_us", 21.0)), {"all_reduce_64kib_us": [20.0]}, "before the run"
    )
    assert [one.text for one in found] == ["the GPUs reduce 64 KiB as before the run, to 5.0%"]


def test_a_difference_of_exactly_what_a_probe_can_show_does_not_count() -> None:
    found = judge(probes(of_all("all_reduce_64kib_us", 22.0)), {"all_reduce_64kib_us": [25.0]})
    assert [one.text for one in found] == ["the GPUs reduce 64 KiB as in the references, to 12.0%"]


def test_values_of_another_number_of_gpus_say_nothing() -> None:
    assert said(judge(probes(probe(READ, 4251.0, 4251.0)), {READ: [1.0, 1.0, 1.0]}), "before") == []
    assert said(judge(probes(probe(READ, 4251.0, 4251.0)), {READ: []}), "before") == []


def test_the_share_of_the_peak() -> None:
    found = (probe("memory_bandwidth_gb_s", 4258.0, 3996.0), probe("bf16_tflops", 690.0, 691.0))
    assert said(judge(probes(*found)), "peak") == [
        "fact: memory copy reaches 83 to 89% of the peak of 4,800 GB/s",
        "fact: BF16 product reaches 70% of the peak of 989 TFLOPS",
    ]
    assert said(judge(probes(*found, model="NVIDIA A100")), "peak") == []
    assert said(judge(Probes(None, (0, 1), found)), "peak") == []


def test_convictions_come_first() -> None:
    found = judge(probes(probe("memory_bandwidth_gb_s", 4258.0, 4258.0), probe(READ, 4251.0, 3000.0)))
    assert [one.verdict for one in found] == ["convicted", "acquitted", "fact", "fact"]


def guilty(found: Probe) -> set[str]:
    return {one.subject for one in judge(probes(found)) if one.verdict == "convicted"}


rates = st.floats(1.0, 1e5, allow_nan=False)


@given(st.sampled_from(PER_GPU), rates, st.integers(3, 16), st.data())
def test_one_slow_gpu_is_found_wherever_it_is(
    name: str, usual: float, count: int, data: st.DataObject
) -> None:
    slow = data.draw(st.integers(0, count - 1))
    lost = data.draw(st.floats(KINDS[name].cards_percent + 0.01, 90.0))
    wobble = [1 + data.draw(st.floats(0, KINDS[name].cards_percent / 1000)) for _ in range(count)]
    values = [usual * each for each in wobble]
    values[slow] = usual * (1 - lost / 100)
    assert guilty(probe(name, *values)) == {f"GPU {slow}"}


@given(st.sampled_from(PER_GPU), rates, st.lists(st.floats(0, 1), min_size=1, max_size=16))
def test_what_a_probe_cannot_show_convicts_no_gpu(name: str, usual: float, places: list[float]) -> None:
    values = [usual * (1 + place * KINDS[name].smallest_percent * 0.999 / 100) for place in places]
    found = judge(probes(probe(name, *values)), {name: [usual]})
    assert [one for one in found if one.verdict == "convicted"] == []
    if len(values) > 1:
        assert [one.verdict for one in found if one.against == "gpus"] == ["acquitted"]


def test_cards_differ_by_more_than_one_card_from_itself() -> None:
    """Measured: of two H200s of one machine one multiplied 3.1% slower, and both ran a scenario alike."""
    two = probe("bf16_tflops", 664.5, 685.9)
    assert guilty(two) == set()
    assert guilty(probe("bf16_tflops", 640.0, 685.9)) == {"GPU 0"}


@given(st.lists(rates, min_size=2, max_size=12), st.sampled_from([0.5, 2.0, 4.0]), st.randoms())
def test_neither_the_unit_nor_the_order_matters(values: list[float], factor: float, random: object) -> None:
    found = guilty(probe(READ, *values))
    assert guilty(probe(READ, *(value * factor for value in values))) == found
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = Probe(READ, tuple(values[n] for n in order), tuple((n,) for n in order), 1.0)
    assert guilty(moved) == found


@given(st.lists(rates, min_size=2, max_size=12))
def test_the_fastest_gpu_is_never_convicted(values: list[float]) -> None:
    assert f"GPU {values.index(max(values))}" not in guilty(probe(READ, *values))
    assert len(guilty(probe(READ, *values))) < len(values)


@given(st.integers(3, 8), st.floats(4.0, 90.0), st.data())
def test_a_slow_peer_is_found_wherever_it_is(count: int, lost: float, data: st.DataObject) -> None:
    slow = data.draw(st.integers(0, count - 1))
    others = [n for n in range(count) if n != slow]
    rate = 400 * (1 - lost / 100)
    pairs = {f"p{slow}_{n}": rate for n in others} | {f"p{n}_{slow}": rate for n in others}
    assert guilty(peers(count, 400.0, **pairs)) == {f"GPU {slow}"}


@given(st.lists(rates, min_size=1, max_size=8), st.lists(rates, min_size=1, max_size=8))
def test_there_is_always_one_kind_of_answer_about_before(now: list[float], before: list[float]) -> None:
    assume(len(before) in {1, len(now)})
    found = [one for one in judge(probes(probe(READ, *now)), {READ: before}) if one.against == "before"]
    assert len({one.verdict for one in found}) == 1


def on_nodes(*of_nodes: Probes) -> Probes:
    return merged({f"node{number}": probes for number, probes in enumerate(of_nodes, 1)})


def test_a_slow_gpu_is_convicted_by_those_of_all_nodes() -> None:
    fast, slow = probes(probe(READ, *[4251.0] * 4)), probes(probe(READ, 4251.0, 4251.0, 4251.0, 3996.0))
    assert said(judge(on_nodes(fast, slow)), "gpus") == [
        "convicted: GPU 3 on node2 reads memory 6.0% slower than the other seven (3,996 against 4,251 GB/s)"
    ]


def test_a_slow_node_is_convicted_by_the_others() -> None:
    fast, slow = probes(probe(READ, 4251.0, 4251.0)), probes(probe(READ, 3996.0, 3996.0))
    assert said(judge(on_nodes(fast, slow, fast)), "gpus") == [
        "convicted: GPUs 0-1 on node2 read memory 6.0% slower than GPUs 0-1 on node1 and GPUs 0-1 on node3 "
        "(3,996 against 4,251 GB/s)"
    ]


def test_nodes_that_are_alike_are_acquitted() -> None:
    node = probes(probe(READ, 4251.0, 4251.0), of_all(LATENCY, 60.0, 2), peers(2, 400.0))
    assert said(judge(on_nodes(node, node)), "gpus") == [
        "acquitted: all four GPUs read memory alike, to 0.0%",
        "acquitted: all pairs of GPUs copy alike, to 0.0%",
        "acquitted: the GPUs of each node reduce 64 KiB alike, to 0.0%",
    ]


def test_nodes_that_differ_in_what_all_gpus_do_are_named() -> None:
    """By how much healthy nodes differ is unknown."""
    fast = probes(of_all(LATENCY, 60.0, 2), of_all("all_reduce_256mib_gb_s", 280.0, 2))
    slow = probes(of_all(LATENCY, 90.0, 2), of_all("all_reduce_256mib_gb_s", 140.0, 2))
    assert said(judge(on_nodes(slow, fast)), "gpus") == [
        "fact: GPUs 0-1 on node1 reduce 64 KiB 50.0% slower than GPUs 0-1 on node2 (90 against 60 us)",
        "fact: GPUs 0-1 on node1 reduce 256 MiB 50.0% slower than GPUs 0-1 on node2 (140 against 280 GB/s)",
    ]


def test_nodes_of_other_sizes_are_not_compared() -> None:
    assert (
        said(judge(on_nodes(probes(of_all(LATENCY, 60.0, 4)), probes(of_all(LATENCY, 90.0, 2)))), "gpus")
        == []
    )


def test_pairs_are_named_by_node() -> None:
    assert said(judge(on_nodes(probes(peers(3, 400.0)), probes(peers(3, 400.0, p0_1=300.0)))), "gpus") == [
        "convicted: GPU copies node2:0 to node2:1 are up to 25.0% slower than those of the other pairs"
    ]
    one_slow = peers(3, 400.0, p0_1=300.0, p1_0=300.0, p1_2=300.0, p2_1=300.0)
    assert said(judge(on_nodes(probes(one_slow), probes(peers(3, 400.0)))), "gpus") == [
        "convicted: GPU 1 on node1 copies to and from the other GPUs 25.0% slower than they do without it "
        "(300 against 400 GB/s)"
    ]


def test_nodes_are_held_against_what_they_had_before() -> None:
    before = {LATENCY: (60.0, 60.0)}

    def compared(*values: float) -> list[str]:
        now = on_nodes(*(probes(of_all(LATENCY, value, 2)) for value in values))
        return said(judge(now, before, "before the run"), "before")

    assert compared(60.0, 60.0) == [
        "acquitted: the GPUs of each node reduce 64 KiB as before the run, to 0.0%"
    ]
    assert compared(60.0, 90.0) == [
        "convicted: GPUs 0-1 on node2 reduce 64 KiB 50.0% slower than before the run (90 against 60 us)"
    ]
    assert compared(90.0, 90.0) == [
        "convicted: the GPUs of each node reduce 64 KiB 50.0% slower than before the run"
    ]
