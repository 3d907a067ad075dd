from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.telemetry.health import (
    GpuStatistics,
    GpuSummary,
    assess,
    conditions,
    from_to,
    summary,
)
from pytest_dsr1.machine.telemetry.throttling import COVERED_SHARE, REASONS, THROTTLED
from pytest_dsr1.machine.values import UNVERIFIED, Conditions, Event, Telemetry
from pytest_dsr1.scenario.schema.scenario import Validity
from tests.helpers.gpu_samples import FROM_S, TO_S, watched


def judged(telemetry: Telemetry, **options: object) -> list[str]:
    found = assess(telemetry, Validity(), FROM_S, TO_S, **options)  # type: ignore[arg-type]
    return [f"{one.severity} {one.subject}: {one.message}" for one in found]


def first_gpu(told: GpuSummary | None) -> GpuStatistics:
    assert told is not None
    return told.gpus[0]


def test_a_healthy_run_has_no_findings() -> None:
    assert judged(watched([0] * 100)) == []


def test_the_cpu_has_no_findings_and_no_summary() -> None:
    assert assess(Telemetry(), Validity(), 0, 1) == ()
    assert summary(Telemetry(), 0, 1) is None


def test_a_throttled_gpu_makes_the_run_invalid() -> None:
    masks: Sequence[int | None] = [0] * 72 + [0x48] * 3 + [0] * 25
    assert judged(watched(masks)) == [
        "mismatch GPU 0 throttled: hardware slowdown, hardware thermal slowdown: from 01:12 to 01:15 "
        "into the measurement, 3.0 s of 100.0 s in total (3.0%; allowed 0.5%); check cooling and power supply"
    ]


def test_throttling_that_comes_again() -> None:
    masks: Sequence[int | None] = [0] * 10 + [0x40] * 3 + [0] * 40 + [0x20] * 5 + [0] * 42
    assert judged(watched(masks)) == [
        "mismatch GPU 0 throttled: software thermal slowdown, hardware thermal slowdown: 2 times from 10.0 s "
        "to 58.0 s into the measurement, 8.0 s of 100.0 s in total (8.0%; allowed 0.5%); check cooling and "
        "power supply"
    ]


def test_a_little_throttling_is_a_warning() -> None:
    telemetry = watched([0] * 100)
    brief = replace(telemetry.samples[50], time_s=150.9, throttle_reasons=0x20)
    some = [*telemetry.samples[:51], brief, *telemetry.samples[51:]]
    telemetry = replace(telemetry, samples=tuple(some))
    assert judged(telemetry) == [
        "warning GPU 0 throttled: software thermal slowdown: from 50.9 s to 51.0 s into the measurement, "
        "0.1 s of 100.0 s in total (0.1%; allowed 0.5%); check cooling and power supply"
    ]


@pytest.mark.parametrize("bit", list(REASONS))
def test_which_reasons_are_throttling(bit: int) -> None:
    invalid = any(line.startswith("mismatch") for line in judged(watched([bit] * 100)))
    assert invalid == (REASONS[bit] in THROTTLING)


THROTTLING = {
    "hardware slowdown",
    "software thermal slowdown",
    "hardware thermal slowdown",
    "hardware power brake",
}


def test_the_power_cap_is_recorded_unless_the_scenario_condemns_it() -> None:
    telemetry = watched([0x4] * 60 + [0] * 40)
    assert judged(telemetry) == []
    strict = Validity(software_power_cap="invalid")
    assert assess(telemetry, strict, FROM_S, TO_S) == (
        Finding(
            "mismatch",
            "GPU 0 power capped",
            "software power cap: from 00:00 to 01:00 into the measurement, 60.0 s of 100.0 s in total "
            "(60.0%; allowed 0.5%); raise the power limit, or set validity.software_power_cap: record",
        ),
    )


def test_only_the_measured_time_counts() -> None:
    masks: Sequence[int | None] = [0x40] * 30 + [0] * 40 + [0x40] * 30
    assert assess(watched(masks), Validity(), 130.0, 170.0) == ()


@given(st.lists(st.booleans(), min_size=100, max_size=100), st.integers(0, 99), st.integers(1, 100))
def test_the_share_is_that_of_time(throttled: list[bool], first: int, seconds: int) -> None:
    last = min(first + seconds, 100)
    masks: Sequence[int | None] = [0x40 if one else 0 for one in throttled]
    told = summary(watched(masks), FROM_S + first, FROM_S + last)
    gpu = first_gpu(told)
    assert gpu.throttled_share == pytest.approx(sum(throttled[first:last]) / (last - first))


def test_grown_ecc_errors_make_the_run_invalid() -> None:
    telemetry = replace(watched([0] * 100), ecc_uncorrected_before=(2,), ecc_uncorrected_after=(3,))
    assert judged(telemetry) == [
        "mismatch GPU 0 ECC: uncorrectable memory errors grew from 2 to 3 during the run; results may be "
        "wrong: reset the GPU (`nvidia-smi -r`), and replace it if that does not help"
    ]
    assert judged(replace(telemetry, ecc_uncorrected_after=(None,))) == []


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Event(162.0, 0, "lost", "nvmlDeviceGetPowerUsage: GPU is lost"),
            "mismatch GPU 0 lost: 01:02 after the measurement began: nvmlDeviceGetPowerUsage: GPU is "
            "lost; see dmesg for the Xid",
        ),
        (
            Event(130.0, 0, "foreign process", "pid 7 (python, user eve)"),
            "mismatch GPU 0 shared: 00:30 after the measurement began, another process was on this GPU: "
            "pid 7 (python, user eve); run again without other processes",
        ),
        (
            Event(40.0, 0, "foreign process", "pid 7 (python, user eve)"),
            "mismatch GPU 0 shared: 01:00 before the measurement began, another process was on this GPU: "
            "pid 7 (python, user eve); run again without other processes",
        ),
        (
            Event(230.0, 0, "foreign process", "pid 7"),
            "warning GPU 0 shared: after the measurement, another process was on this GPU: pid 7; run "
            "again without other processes",
        ),
        (
            Event(130.0, None, "error", "t.jsonl: telemetry cannot be written: No space left on device"),
            "warning GPUs telemetry: 00:30 after the measurement began: t.jsonl: telemetry cannot be "
            "written: No space left on device",
        ),
    ],
)
def test_events_say_what_when_and_where(event: Event, line: str) -> None:
    assert judged(replace(watched([0] * 100), events=(event,))) == [line]


def test_a_gpu_without_samples_is_a_mismatch() -> None:
    assert judged(replace(watched([0] * 100), samples=())) == [
        "mismatch GPU 0 telemetry: there is no sample of the measured time, so it is unknown whether "
        "the GPU was throttled"
    ]


def test_gaps_are_reported() -> None:
    assert judged(watched([0] * 50)) == ["warning GPU 0 telemetry: samples cover 52% of the measured time"]


def test_a_driver_that_reports_no_reasons() -> None:
    assert judged(watched([None] * 100)) == [
        "warning GPU 0 throttling: the driver does not report throttling, so it is not judged"
    ]


def test_a_clock_ceiling_shows_under_load() -> None:
    assert judged(watched([0] * 100, sm_clock_mhz=1500)) == [
        "warning GPU 0 SM clock: at most 1500 of 1980 MHz under load, and the driver reports no reason: "
        "clocks are probably locked; as root: nvidia-smi -i 0 -rgc"
    ]


@pytest.mark.parametrize(
    ("mask", "facts"),
    [
        (0x4, {"sm_clock_mhz": 1500}),
        (0x1, {"sm_clock_mhz": 345}),
        (0, {"sm_clock_mhz": 345, "utilization_percent": 0}),
        (0, {"sm_clock_mhz": None}),
        (0, {"sm_clock_mhz": 1950}),
    ],
)
def test_no_ceiling_is_seen_where_there_is_a_reason(mask: int, facts: dict[str, object]) -> None:
    assert judged(watched([mask] * 100, **facts)) == []


def test_a_locked_clock_is_judged_under_load() -> None:
    assert judged(watched([0x2] * 100, sm_clock_mhz=1500), sm_clock_lock_mhz=1500) == []
    assert judged(watched([0] * 100, sm_clock_mhz=1980), sm_clock_lock_mhz=1500) == [
        "warning GPU 0 SM clock: expected 1500 MHz (locked), found 1980 to 1980 MHz under load"
    ]


@pytest.mark.parametrize("position", [0, 3, 7])
@pytest.mark.parametrize(
    ("mask", "said", "subject"),
    [
        (0x4, "not throttled, at the software power cap 30% of the time", "power capped"),
        (0x40, "throttled 30.0% of the time", "throttled"),
    ],
)
def test_one_slowed_gpu_of_eight_shows(mask: int, said: str, subject: str, position: int) -> None:
    one, slowed = watched([0] * 100), watched([mask] * 30 + [0] * 70)
    telemetry = replace(
        one,
        gpus=tuple(range(8)),
        max_sm_clock_mhz=(1980,) * 8,
        samples=tuple(
            replace(sample, gpu=gpu)
            for gpu in range(8)
            for sample in (slowed if gpu == position else one).samples
        ),
        ecc_uncorrected_before=(0,) * 8,
        ecc_uncorrected_after=(0,) * 8,
    )
    told = summary(telemetry, FROM_S, TO_S)
    assert told is not None
    assert told.text == f"1980 MHz SM clock, 600 W each, at most 60 C, {said}"
    (found,) = assess(telemetry, Validity(software_power_cap="invalid"), FROM_S, TO_S)
    assert (found.severity, found.subject) == ("mismatch", f"GPU {position} {subject}")
    numbers = conditions(telemetry, FROM_S, TO_S)
    assert numbers is not None
    assert numbers.throttled_s == (30.0 if mask == 0x40 else 0.0)


def test_the_summary_is_json_with_units_in_its_names() -> None:
    telemetry = watched([0x4] * 50 + [0x40] * 51)
    slower = [replace(one, sm_clock_mhz=1000, temperature_c=85) for one in telemetry.samples[50:]]
    telemetry = replace(
        telemetry, samples=(*telemetry.samples[:50], *slower), overhead_share=0.01, processes_visible=False
    )
    told = summary(telemetry, FROM_S, TO_S)
    assert told is not None
    assert json.loads(json.dumps(asdict(told))) == {
        "text": "1490 MHz SM clock, 600 W each, at most 85 C, throttled 50.0% of the time, "
        "at the software power cap 50% of the time",
        "power_w_total": 600.0,
        "energy_j_total": 60000.0,
        "overhead_share": 0.01,
        "processes_visible": False,
        "gpus": [
            {
                "gpu": 0,
                "samples": 100,
                "sm_clock_mhz_mean": 1490.0,
                "sm_clock_mhz_min": 1000,
                "sm_clock_mhz_max": 1980,
                "power_w_mean": 600.0,
                "temperature_c_max": 85,
                "memory_used_gib_max": 120.0,
                "utilization_percent_mean": 99.0,
                "energy_j": 60000.0,
                "power_capped_share": 0.5,
                "throttled_share": 0.5,
                "reason_share": {"software power cap": 0.5, "hardware thermal slowdown": 0.5},
            }
        ],
        "why_no_energy": None,
    }


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"power_w": 609.0}, "1980 MHz SM clock, 604 W each"),
        ({"power_w": 580.0}, "1980 MHz SM clock, 580 to 600 W each"),
        ({"sm_clock_mhz": 1500}, "1500 to 1980 MHz SM clock, 600 W each"),
    ],
)
def test_gpus_that_differ_are_shown_as_a_range(other: dict[str, float], text: str) -> None:
    one = watched([0] * 100)
    samples = [replace(each, gpu=1, **other) for each in one.samples]  # type: ignore[arg-type]
    both = replace(one, gpus=(0, 1), max_sm_clock_mhz=(1980, 1980), samples=(*one.samples, *samples))
    told = summary(both, FROM_S, TO_S)
    assert told is not None
    assert told.text.startswith(f"{text}, at most ")


def test_energy_comes_from_the_counter_alone() -> None:
    """The counter says 600 W, the samples 500 W."""
    told = summary(watched([0] * 102, power_w=500.0), FROM_S + 0.5, TO_S - 0.25)
    assert told is not None
    assert (first_gpu(told).energy_j, told.energy_j_total, told.power_w_total) == (59550.0, 59550.0, 500.0)
    samples = tuple(replace(one, energy_j=None) for one in watched([0] * 102).samples)
    told = summary(replace(watched([]), samples=samples), FROM_S, TO_S)
    assert told is not None
    assert (first_gpu(told).energy_j, told.energy_j_total, told.power_w_total) == (None, None, 600.0)
    assert told.why_no_energy == "GPU 0: no energy counter, or NVML cannot read it"


def test_a_summary_without_readings() -> None:
    told = summary(replace(watched([0]), samples=()), FROM_S, TO_S)
    assert told is not None
    assert told.text == "GPU 0: no sample"
    assert (told.power_w_total, told.energy_j_total) == (None, None)


def text_of(telemetry: Telemetry, used: int = 0) -> str:
    told = summary(telemetry, FROM_S, TO_S, used=used)
    assert told is not None
    return told.text


def test_gpus_that_were_not_watched_are_not_called_healthy() -> None:
    """Half of the GPUs are on another node; what they drew is in no total."""
    telemetry = watched([0] * 100)
    told = summary(telemetry, FROM_S, TO_S, used=2)
    assert told is not None
    assert told.text.endswith(
        "not throttled as far as seen (nothing is known of 1 of its 2 GPUs: they were not watched)"
    )
    assert (told.power_w_total, told.energy_j_total) == (None, None)
    assert judged(telemetry, used=2) == [
        "warning GPUs not watched: the run used 2 GPUs, and 1 of them were watched: whether the others were "
        "throttled or shared is unknown. Figures per GPU divide by all 2; power and energy have no total"
    ]
    assert text_of(Telemetry(), used=8) == "nothing is known of 8 of its 8 GPUs: they were not watched"
    hot = text_of(watched([0x40] * 50 + [0] * 50), used=2)
    assert hot.endswith(
        "throttled 50.0% of the time (nothing is known of 1 of its 2 GPUs: they were not watched)"
    )


def test_time_without_samples_is_not_called_healthy() -> None:
    assert text_of(watched([0] * 50)).endswith(
        ", not throttled as far as seen (samples cover 52% of the measured time)"
    )
    seen_half = summary(watched([0] * 50), FROM_S, TO_S)
    assert seen_half is not None
    assert first_gpu(seen_half).energy_j is None, "the energy of half of the time is not that of the run"
    assert seen_half.why_no_energy == "GPU 0: the energy counter was not read after the measurement ended"


COVERED = round(100 * COVERED_SHARE)
ALL = watched([0] * 100)
UNSEEN = {
    "a gap in the middle": (
        replace(ALL, samples=(*ALL.samples[:2], *ALL.samples[-2:])),
        "samples cover 6% of the measured time",
    ),
    "a sample long before, and one at the end": (
        replace(ALL, samples=(replace(ALL.samples[0], time_s=FROM_S - 50), ALL.samples[-1])),
        "samples cover 1% of the measured time",
    ),
    "every tenth second": (
        replace(ALL, samples=ALL.samples[::10]),
        "samples cover 30% of the measured time",
    ),
    "reasons in few samples": (
        watched([0] * 2 + [None] * 98),
        "the driver reports throttling for 2% of the measured time",
    ),
    "both": (
        replace(watched([0] * 40 + [None] * 60), samples=watched([0] * 40 + [None] * 60).samples[:80]),
        "samples cover 82% of the measured time; the driver reports throttling for 40% of the measured time",
    ),
}


@pytest.mark.parametrize(("telemetry", "unknown"), UNSEEN.values(), ids=list(UNSEEN))
def test_time_of_which_nothing_is_known_is_not_called_healthy(telemetry: Telemetry, unknown: str) -> None:
    assert text_of(telemetry).endswith(f", not throttled as far as seen ({unknown})")
    subjects = {"samples": "warning GPU 0 telemetry", "the driver": "warning GPU 0 throttling"}
    lines = [
        f"{subject}: {part}"
        for part in unknown.split("; ")
        for start, subject in subjects.items()
        if part.startswith(start)
    ]
    assert judged(telemetry) == lines
    known = conditions(telemetry, FROM_S, TO_S)
    assert known is not None
    assert known.throttled_s is None


def test_throttling_is_a_share_of_the_time_of_which_it_is_known() -> None:
    half = watched([0x40] * 10 + [0] * 10 + [None] * 80)
    assert first_gpu(summary(half, FROM_S, TO_S)).throttled_share == pytest.approx(0.5)
    assert "10.0 s of 20.0 s in total (50.0%; allowed 0.5%)" in judged(half)[-1]
    known = conditions(half, FROM_S, TO_S)
    assert known is not None
    assert known.throttled_s == 10.0, "at least"


def test_samples_that_come_late_still_cover_the_time() -> None:
    late = replace(ALL, samples=ALL.samples[::3])
    assert judged(late) == []
    assert text_of(late).endswith(", not throttled")


def test_a_driver_that_reports_no_throttling_is_not_called_healthy() -> None:
    assert text_of(watched([None] * 100)).endswith(
        ", throttling unknown (GPU 0: the driver does not report throttling)"
    )
    one = watched([0] * 100)
    samples = (*one.samples, *(replace(each, gpu=1, throttle_reasons=None) for each in one.samples))
    both = replace(one, gpus=(0, 1), max_sm_clock_mhz=(1980, 1980), samples=samples)
    assert text_of(both).endswith(
        ", not throttled as far as seen (GPU 1: the driver does not report throttling)"
    )
    assert text_of(replace(both, gpus=(0, 2))).endswith(", not throttled as far as seen (GPU 2: no sample)")


def test_every_bit_is_named_once() -> None:
    assert [1 << place for place in range(9)] == list(REASONS)
    assert THROTTLED == 0xE8


def test_a_run_in_a_few_numbers() -> None:
    """Of two GPUs, one hotter and slower; what was before the measured time does not count."""
    cool = watched([0] * 50, power_w=500.04)
    hot = [
        replace(each, gpu=1, sm_clock_mhz=1800, power_w=600.0, temperature_c=80 + (each.time_s < FROM_S + 20))
        for each in cool.samples
    ]
    slow = [replace(each, throttle_reasons=0x40) if each.time_s < FROM_S + 23 else each for each in hot]
    both = replace(cool, gpus=(0, 1), samples=(*cool.samples, *slow))
    assert conditions(both, FROM_S + 20, TO_S) == Conditions(1890.0, 550.0, 80, 3.0)


def test_an_unmeasured_value_is_in_no_number() -> None:
    assert conditions(Telemetry(), FROM_S, TO_S) is None
    unknown = Conditions(None, None, None, None)
    silent = watched([None] * 9, sm_clock_mhz=None, power_w=None, temperature_c=None)
    assert conditions(silent, FROM_S, TO_S) == unknown
    assert conditions(watched([0]), FROM_S + 50, TO_S) == unknown
    assert conditions(watched([0] * 9), FROM_S, TO_S) == Conditions(1980.0, 600.0, 60, None)
    assert conditions(watched([0] * 100), FROM_S, TO_S) == Conditions(1980.0, 600.0, 60, 0.0)


@pytest.mark.parametrize(("clock_mhz", "doubted"), [(1469, True), (1470, False), (1530, False), (1531, True)])
def test_a_locked_clock_may_be_two_steps_off(clock_mhz: int, doubted: bool) -> None:
    found = judged(watched([0] * 100, sm_clock_mhz=clock_mhz), sm_clock_lock_mhz=1500)
    assert bool(found) == doubted


@pytest.mark.parametrize(
    ("clock_mhz", "utilization_percent", "doubted"),
    [(1899, 50, True), (1899, 49, False), (1899, None, False), (1900, 50, False)],
)
def test_a_ceiling_shows_below_95_percent_of_the_maximum_on_a_busy_gpu(
    clock_mhz: int, utilization_percent: int | None, doubted: bool
) -> None:
    telemetry = watched([0] * 100, sm_clock_mhz=clock_mhz, utilization_percent=utilization_percent)
    found = judged(replace(telemetry, max_sm_clock_mhz=(2000,)))
    assert bool(found) == doubted


def test_a_period_has_tenths_of_a_second_in_its_first_minute() -> None:
    assert from_to(0.4, 59.5) == "from 0.4 s to 59.5 s"
    assert from_to(0.4, 60.0) == "from 00:00 to 01:00"


def test_a_gpu_without_samples_does_not_hide_the_next_one() -> None:
    one = watched([0x40] * 100)
    second = tuple(replace(sample, gpu=1) for sample in one.samples)
    both = replace(one, gpus=(0, 1), max_sm_clock_mhz=(1980, 1980), samples=second)
    assert [line.partition(":")[0] for line in judged(both)] == [
        "mismatch GPU 0 telemetry",
        "mismatch GPU 1 throttled",
    ]


@pytest.mark.parametrize(
    ("time_s", "severity", "when"),
    [
        (FROM_S, "mismatch", "00:00 after the measurement began"),
        (TO_S, "mismatch", "01:40 after the measurement began"),
        (TO_S + 0.5, "mismatch", "after the measurement"),
        (TO_S + 1, "mismatch", "after the measurement"),
        (TO_S + 1.5, "warning", "after the measurement"),
    ],
)
def test_a_process_seen_within_a_second_of_the_end_was_there(time_s: float, severity: str, when: str) -> None:
    events = (Event(time_s, 0, "foreign process", "pid 7"),)
    (line,) = judged(replace(watched([0] * 100), events=events))
    assert line.startswith(f"{severity} GPU 0 shared: {when}, another process was on this GPU: pid 7")


def test_without_ecc_counters_nothing_is_said_of_them() -> None:
    assert judged(replace(watched([0] * 100), ecc_uncorrected_before=())) == []


def test_the_allowed_share_is_allowed() -> None:
    telemetry = watched([0x40] * 3 + [0] * 97)
    (found,) = assess(telemetry, Validity(throttled_share=0.03), FROM_S, TO_S)
    assert found.severity == "warning"
    (found,) = assess(telemetry, Validity(throttled_share=0.029), FROM_S, TO_S)
    assert found.severity == "mismatch"


@pytest.mark.parametrize(("seconds", "shown"), [(4, False), (5, True)])
def test_a_cap_of_5_percent_of_the_time_is_shown(seconds: int, shown: bool) -> None:
    told = text_of(watched([0x4] * seconds + [0] * (100 - seconds)))
    assert ("at the software power cap 5% of the time" in told) == shown


def test_gpus_2_percent_apart_are_alike() -> None:
    one = watched([0] * 100, power_w=99.0)
    for other_w, text in ((101.0, ", 100 W each"), (101.1, ", 99 to 101 W each")):
        samples = tuple(replace(each, gpu=1, power_w=other_w) for each in one.samples)
        both = replace(one, gpus=(0, 1), max_sm_clock_mhz=(1980, 1980), samples=(*one.samples, *samples))
        assert text in text_of(both)


def test_numbers_of_a_run_have_a_tenth() -> None:
    known = conditions(watched([0] * 100, power_w=500.34), FROM_S, TO_S)
    assert known == Conditions(1980.0, 500.3, 60, 0.0)


@pytest.mark.parametrize(("seconds", "throttled_s"), [(COVERED - 1, None), (COVERED, 0.0)])
def test_no_throttling_is_known_if_enough_of_the_time_is(seconds: int, throttled_s: float | None) -> None:
    known = conditions(watched([0] * seconds + [None] * (100 - seconds)), FROM_S, TO_S)
    assert known is not None
    assert known.throttled_s == throttled_s


def test_what_results_of_earlier_versions_lack() -> None:
    assert GpuStatistics(0).samples == 0
    assert (GpuSummary("").overhead_share, GpuSummary("").processes_visible) == (0.0, True)


@pytest.mark.parametrize(
    ("seen", "most", "found"),
    [
        ((1, 4, 4), 5, 4),
        ((1, 5, 1), 5, None),
        ((1, 1, 1), None, None),
        ((None, None, None), 5, None),
    ],
    ids=["never reached", "reached once", "maximum unknown", "not read"],
)
def test_a_pcie_link_that_never_reaches_its_generation(
    seen: tuple[int | None, ...], most: int | None, found: int | None
) -> None:
    """An idle GPU lowers it, so only the highest of the measured time counts."""
    telemetry = watched([0] * 100)
    samples = tuple(
        replace(sample, pcie_generation=seen[number % 3]) for number, sample in enumerate(telemetry.samples)
    )
    message = (
        f"warning GPU 0 PCIe: the link ran at generation {found} of {most} under load, which slows copies "
        f"from and to the host; look for a slot or BIOS limit {UNVERIFIED}"
    )
    judged_now = judged(replace(telemetry, samples=samples, pcie_generation_max=(most,)))
    assert judged_now == ([] if found is None else [message])
    assert judged(replace(telemetry, samples=samples)) == [], "a result of an earlier version"


def test_xid_errors_that_the_driver_does_not_report_are_said_once() -> None:
    """Saved with the result, because an Xid error of such a run would not be seen."""
    telemetry = replace(watched([0] * 3), xids_watched=False)
    findings = [each for each in assess(telemetry, Validity(), FROM_S, TO_S) if each.subject == "Xid errors"]
    assert [(each.severity, each.message) for each in findings] == [("ok", "not offered by the driver")]


def test_what_happened_on_a_node_names_it() -> None:
    telemetry = watched([0] * 72 + [0x48] * 3 + [0] * 25)
    on_two = replace(
        telemetry,
        gpus=("node2:0",),
        samples=tuple(replace(one, gpu="node2:0") for one in telemetry.samples),
        events=(
            Event(FROM_S + 1, "node2:0", "xid", "Xid 79", 79),
            Event(FROM_S + 2, None, "error", "NVML is gone", node="node2"),
        ),
    )
    found = assess(on_two, Validity(), FROM_S, TO_S)
    assert [one.where for one in found if one.severity != "ok"] == [
        "GPU 0 Xid on node2",
        "GPUs telemetry on node2",
        "GPU 0 throttled on node2",
    ]
    told = summary(on_two, FROM_S, TO_S)
    assert told is not None
    assert told.gpus[0].gpu == "node2:0"
