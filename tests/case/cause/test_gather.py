"""The evidence of a run: from verdicts, telemetry, findings, clues and what changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.case.cause import gather
from pytest_dsr1.case.cause.cause import cause_of
from pytest_dsr1.case.cause.evidence import Evidence, OptionDifference, Watched
from pytest_dsr1.case.cause.gather import evidence_of
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.case.since import Change, Since
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.telemetry.health import GpuStatistics, GpuSummary
from pytest_dsr1.machine.values import UNVERIFIED, Event, FactValue, Fingerprint, GpuSample, Telemetry
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.verdict.verdict import Status, Verdict
from tests.helpers.paths import SUITES
from tests.helpers.published import shipped
from tests.helpers.reference_store import NODE, references
from tests.helpers.reference_store import run as reference
from tests.helpers.values import gate, measurement, scenario, verdict

MISSED = verdict(10.0)
FAILED = Judgment("small", Status.FAIL, "", (MISSED,), {})


def found(judgment: Judgment = FAILED, **changes: Any) -> Evidence:
    """Return the evidence of a run with these changes; ``clues`` and ``since`` are arguments of their own."""
    clues, since = changes.pop("clues", ()), changes.pop("since", None)
    evidence = evidence_of(judgment, measurement(**changes), clues, since)
    assert evidence is not None
    return evidence


def _reasons(share: float | None) -> int | None:
    return None if share is None else 0


def watched(
    *shares: float | None, events: tuple[Event, ...] = (), sampled: float = 1.0, **telemetry: Any
) -> dict[str, Any]:
    """Return the telemetry of GPUs that were throttled for these shares of the time from 100 s to 102 s.

    Args:
        shares: of each GPU; None if the driver does not report it.
        events: what happened.
        sampled: the share of the time that has samples.
        telemetry: other fields.
    """
    gpus = tuple(range(len(shares)))
    samples = tuple(
        GpuSample(100.0 + step / 10, gpu, None, None, None, None, None, None, None, _reasons(shares[gpu]))
        for step in range(round(20 * sampled))
        for gpu in gpus
    )
    return {
        "telemetry": Telemetry(gpus=gpus, events=events, samples=samples, **telemetry),
        "gpu_health": GpuSummary(
            "", gpus=tuple(GpuStatistics(gpu, throttled_share=shares[gpu]) for gpu in gpus)
        ),
        "scenario": scenario(hardware={"gpu": "NVIDIA H200", "count": len(gpus)}),
    }


def test_only_a_bad_result_needs_a_cause() -> None:
    for status in (Status.PASS, Status.MEASURED, Status.NO_REFERENCE, None):
        assert evidence_of(replace(FAILED, status=status), measurement(), (), None) is None
    assert found().result == "FAIL"
    assert found(replace(FAILED, status=Status.INVALID)).result == "INVALID"
    assert found(replace(FAILED, verdicts=(verdict(),), gate=gate(Status.FAIL))).result == "LOSS"


def test_the_share_is_that_of_the_worst_figure() -> None:
    assert found().share_of_target == pytest.approx(0.8)
    slow = replace(MISSED, metric="average_ttft", measured=200.0, target=100.0)
    assert found(replace(FAILED, verdicts=(MISSED, slow))).share_of_target == pytest.approx(0.5)
    unknown: Verdict = replace(MISSED, measured=None)
    assert found(replace(FAILED, verdicts=(unknown,))).share_of_target is None


def test_a_run_on_the_cpu_is_watched_for_other_work() -> None:
    assert found().watched is None
    busy = Finding("mismatch", "CPUs shared", "40% of the time")
    assert found(findings=(busy,)).watched == Watched(shared=True)
    assert found(findings=(replace(busy, severity="warning"),)).watched is None


@pytest.mark.parametrize("unread", [{"gpu_health": None}, {"telemetry": Telemetry()}])
def test_a_run_whose_gpus_were_not_read_was_not_watched(unread: dict[str, Any]) -> None:
    assert found(**{**watched(0.25), **unread}).watched is None


def test_what_the_telemetry_shows() -> None:
    seen = found(**watched(0.0, 0.25, None)).watched
    rest = Watched(None, power_capped=False, locked_clock=False, shared=False)
    assert seen == replace(
        rest, throttled_share=0.25, unseen=("GPU 2: the driver does not report throttling",)
    )
    assert found(**watched(None)).watched == replace(
        rest, unseen=("GPU 0: the driver does not report throttling",)
    )
    assert found(**watched(0.0)).watched == replace(rest, throttled_share=0.0)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event(101.0, 0, "xid", "", 79), {"xid": 79}),
        (Event(100.0, 0, "xid", "", 79), {"xid": 79}),
        (Event(103.0, 0, "xid", "", 79), {"xid": 79}),
        (Event(104.0, 0, "xid", "", 79), {"xid": None}),
        (Event(99.0, 0, "xid", "", 79), {"xid": None}),
        (Event(101.0, 0, "xid", "", 31), {"xid": 31}),
        (Event(101.0, 0, "foreign process", "pid 1"), {"shared": True}),
        (Event(99.0, 0, "foreign process", "pid 1"), {"shared": True}),
        (Event(103.0, 0, "foreign process", "pid 1"), {"shared": True}),
        (Event(104.0, 0, "foreign process", "pid 1"), {"shared": False}),
        (Event(99.0, 0, "lost", "GPU is lost"), {"lost": True, "shared": False}),
        (Event(101.0, 0, "error", "a reading failed"), {"lost": False, "shared": False}),
    ],
)
def test_events_of_the_measured_time(event: Event, expected: dict[str, Any]) -> None:
    seen = found(**watched(0.0, events=(event,))).watched
    assert {name: getattr(seen, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("before", "after", "grew"), [(1, 2, True), (2, 2, False), (None, 2, False), (2, None, False)]
)
def test_new_memory_errors(before: int | None, after: int | None, grew: bool) -> None:
    seen = found(**watched(0.0, ecc_uncorrected_before=(before,), ecc_uncorrected_after=(after,))).watched
    assert seen is not None
    assert seen.ecc_grew is grew


def test_errors_that_were_read_only_before_the_run_are_not_new() -> None:
    seen = found(**watched(0.0, ecc_uncorrected_before=(1,))).watched
    assert seen is not None
    assert not seen.ecc_grew


def test_what_a_lower_clock_can_have_cost() -> None:
    run = watched(0.0, None, max_sm_clock_mhz=(2000, None))
    run["gpu_health"] = GpuSummary("", gpus=tuple(GpuStatistics(n, sm_clock_mhz_mean=1500) for n in (0, 1)))
    locked = (FoundClue("sm-clock", "the clock is locked"),)
    seen = found(**run, clues=locked).watched
    assert seen is not None
    assert seen.clock_loss_percent == pytest.approx(25.0)
    unread = found(**watched(0.0), clues=locked).watched
    assert unread is not None
    assert unread.clock_loss_percent is None


@pytest.mark.parametrize(
    ("clock_mhz", "share", "behind"),
    [
        (1200, 1.0, {1: 39.1}),
        (1940, 1.0, {}),
        (1930.8, 1.0, {}),
        (1930.4, 1.0, {1: 2.0}),
        (1910, 1.0, {1: 3.0}),
        (1200, 0.05, {1: 39.1}),
        (1200, 0.049, {}),
        (1200, None, {}),
    ],
)
def test_a_gpu_at_its_power_cap_is_held_against_the_others(
    clock_mhz: float, share: float | None, behind: dict[int, float]
) -> None:
    """At the default limit all GPUs are capped at full load, but none is much slower than the others."""
    run = watched(0.0, 0.0, 0.0, max_sm_clock_mhz=(1980, 1980, 1980))
    gpus = (
        GpuStatistics(0, throttled_share=0.0, sm_clock_mhz_mean=1980),
        GpuStatistics(1, throttled_share=0.0, sm_clock_mhz_mean=clock_mhz, power_capped_share=share),
        GpuStatistics(2, throttled_share=0.0, sm_clock_mhz_mean=1960),
    )
    clues = (FoundClue("power-cap", "GPU 1 ran at the cap"),)
    seen = found(**{**run, "gpu_health": GpuSummary("", gpus=gpus)}, clues=clues).watched
    assert seen is not None
    assert seen.behind == pytest.approx(behind, abs=0.05)
    assert seen.power_capped is False, "no limit was lowered"
    without_clue = found(**{**run, "gpu_health": GpuSummary("", gpus=gpus)}).watched
    assert without_clue is not None
    assert without_clue.behind == {}


def test_a_lowered_limit_is_held_against_the_highest_clock() -> None:
    run = watched(0.0, max_sm_clock_mhz=(2000,))
    run["gpu_health"] = GpuSummary("", gpus=(GpuStatistics(0, sm_clock_mhz_mean=1500),))
    facts: dict[str, FactValue] = {"gpu.power_limit_w": 500.0, "gpu.power_default_w": 700.0}
    seen = found(**run, fingerprint=Fingerprint(facts)).watched
    assert seen is not None
    assert seen.clock_loss_percent == pytest.approx(25.0)


def test_time_of_the_run_without_samples() -> None:
    seen = found(**watched(0.0, sampled=0.1)).watched
    assert seen is not None
    assert seen.unseen == ("samples cover 20% of the measured time",)


def test_what_the_scenario_does_not_allow() -> None:
    """The reason why a run does not count convicts the machine, and a shorter time does not."""
    message = "heat: from 0.4 s to 1.4 s, 1.0 s of 2.0 s in total (50.0%; allowed 0.5%); check cooling"
    hot = (Finding("mismatch", "GPU 0 throttled", message), Finding("warning", "GPU 0 power capped", message))
    evidence = found(replace(FAILED, status=Status.INVALID, verdicts=()), **watched(0.5), findings=hot)
    assert evidence.watched is not None
    assert evidence.watched.not_allowed == (f"GPU 0 throttled: {message.rpartition('; ')[0]}",)
    assert evidence.why_invalid == (f"GPU 0 throttled: {message}",)
    assert cause_of(evidence).kind == "machine"


def test_gpus_that_were_not_watched() -> None:
    run = watched(0.0)
    run["scenario"] = scenario(hardware={"gpu": "NVIDIA H200", "count": 2})
    seen = found(**run).watched
    assert seen is not None
    assert seen.unseen == ("nothing is known of 1 of its 2 GPUs: they were not watched",)


@pytest.mark.parametrize(
    ("facts", "capped"),
    [
        ({"gpu.power_limit_w": 500.0, "gpu.power_default_w": 700.0}, True),
        ({"gpu.power_limit_w": ["500.0", "700.0"], "gpu.power_default_w": 700.0}, True),
        ({"gpu.power_limit_w": 600.0, "gpu.power_default_w": ["500.0", "700.0"]}, True),
        ({"gpu.power_limit_w": 700.0, "gpu.power_default_w": 700.0}, False),
        ({"gpu.power_limit_w": ["700.0", "None"], "gpu.power_default_w": ["700.0", "None"]}, False),
        ({"gpu.power_limit_w": ["600.0", "700.0"], "gpu.power_default_w": ["600.0", "700.0"]}, False),
        ({}, False),
    ],
)
def test_a_power_cap_counts_below_the_default_limit(facts: dict[str, Any], capped: bool) -> None:
    """Published runs are at the default limit too."""
    clues = (FoundClue("power-cap", "GPU 0 ran at the cap"), FoundClue("sm-clock", "GPU 0 is locked"))
    seen = found(**watched(0.0), clues=clues, fingerprint=Fingerprint(facts)).watched
    assert seen is not None
    assert (seen.power_capped, seen.locked_clock) == (capped, True)


def test_findings_and_clues() -> None:
    """Only states in which probes ran too can be refuted by probes."""
    findings = (
        Finding("warning", "GPU 3 PCIe", f"8 of 16 lanes {UNVERIFIED}"),
        Finding(
            "warning", "GPUs 0-2, 4 power limit", "expected 700 W, found 500 W; as root: nvidia-smi -pl 700"
        ),
        Finding("warning", "CPU governor", f"expected performance, found powersave {UNVERIFIED}"),
        Finding("ok", "GPU VBIOS", UNVERIFIED),
        Finding(
            "warning", "GPU 1 repaired errors", f"grew during the run: PCIe replays from 0 to 9 {UNVERIFIED}"
        ),
        Finding("warning", "GPU 0 NVLink fabric health", f"reports degraded bandwidth; see x {UNVERIFIED}"),
        Finding("warning", "GPU 1 sharing", "other compute processes are on this GPU: pid 42; end them"),
        Finding("warning", "DCGM diagnosis", f"memory failed {UNVERIFIED}"),
        Finding("warning", "GPU 1 SM clock", "at most 900 of 1980 MHz under load; as root: x"),
        Finding("warning", "GPU 5", "copies memory 6.1% slower than the other, measured before the run"),
        Finding("warning", "GPU 5 telemetry", "samples cover 10% of the measured time"),
        Finding("warning", "shared memory", "1 GiB"),
    )
    evidence = found(findings=findings, clues=(FoundClue("kv-cache", "it is full"),))
    assert evidence.doubts == (
        "GPU 3 PCIe: 8 of 16 lanes",
        "GPUs 0-2, 4 power limit: expected 700 W, found 500 W",
        "CPU governor: expected performance, found powersave",
    )
    assert evidence.seen == (
        "GPU 1 repaired errors: grew during the run: PCIe replays from 0 to 9",
        "GPU 0 NVLink fabric health: reports degraded bandwidth",
        "GPU 1 sharing: other compute processes are on this GPU: pid 42",
        "DCGM diagnosis: memory failed",
        "GPU 1 SM clock: at most 900 of 1980 MHz under load",
    )
    assert evidence.clues == {"kv-cache": "it is full"}
    locked = found(findings=findings, clues=(FoundClue("sm-clock", "GPU 1 is locked"),))
    assert locked.seen == evidence.seen[:-1], "the clue says it"


@pytest.mark.parametrize(
    ("code", "time_s", "seen"),
    [
        (79, 101.0, ()),
        (79, 90.0, ("outside the measured time, Xid 79 (GPU has fallen off the bus)",)),
        (13, 90.0, ()),
        (63, 101.0, ()),
        (999, 101.0, ("Xid 999 (not in our table)",)),
    ],
)
def test_xid_errors_that_do_not_convict(code: int, time_s: float, seen: tuple[str, ...]) -> None:
    assert found(**watched(0.0, events=(Event(time_s, 0, "xid", "", code),))).seen == seen


def test_each_xid_error_is_told() -> None:
    """Also one after an error that convicts, which is told elsewhere."""
    codes = (79, 999, 79, 998)
    events = tuple(Event(101.0 + 5 * (n == 2), 0, "xid", "", code) for n, code in enumerate(codes))
    assert found(**watched(0.0, events=events)).seen == (
        "Xid 999 (not in our table)",
        "outside the measured time, Xid 79 (GPU has fallen off the bus)",
        "Xid 998 (not in our table)",
    )


def test_an_xid_error_of_the_hardware_counts_before_others() -> None:
    events = (Event(100.5, 0, "xid", "", 31), Event(101.0, 0, "xid", "", 79))
    seen = found(**watched(0.0, events=events)).watched
    assert seen is not None
    assert seen.xid == 79


def test_probes_beside_a_process_that_the_user_allowed_convict_nobody() -> None:
    company = Finding("warning", "GPU 0 sharing", "other compute processes are on this GPU: pid 42; end them")
    alone = Finding("ok", "GPU sharing", "no other compute process")
    for findings, other in (((alone,), False), ((company,), True)):
        seen = found(fingerprint=Fingerprint(PROBES), findings=findings, since=AS_GOOD).probed
        assert seen is not None
        assert seen.other_work is other


@pytest.mark.parametrize(
    ("judgment", "reasons"),
    [
        (
            {"problem": "the run was ended: time; it does not count"},
            ("the run was ended: time; it does not count",),
        ),
        ({"problem": "it does not count:\n  the client was busy\nresults: x"}, ("the client was busy",)),
        (
            {"refused": (Status.INVALID, "3 engine starts in a row do not count")},
            ("3 engine starts in a row do not count",),
        ),
        (
            {"verdicts": (replace(MISSED, status=Status.INVALID, message="not measured\nx"),)},
            ("not measured",),
        ),
        ({}, ()),
    ],
)
def test_why_a_result_does_not_count(judgment: dict[str, Any], reasons: tuple[str, ...]) -> None:
    spoiled = replace(FAILED, **{"status": Status.INVALID, "verdicts": (), **judgment})
    assert found(spoiled).why_invalid == reasons
    assert found(replace(FAILED, **{**judgment, "status": Status.FAIL})).why_invalid == ()


def test_the_reasons_of_the_run_itself_come_first() -> None:
    records = measurement().result.records
    failed = (replace(records[0], error="the server said no"), *records[1:])
    run = replace(measurement().result, records=failed)
    spoiled = replace(FAILED, status=Status.INVALID, verdicts=(), problem="something else")
    (reason,) = found(spoiled, result=run).why_invalid
    assert reason == "1 of 4 requests failed, the first: the server said no"


def test_what_changed() -> None:
    assert (found().green, found().software_same) == ("never", None)
    changes = (
        Change("gpu.vboost", "gpu.vboost 4 -> 0"),
        Change("driver", "driver 570 -> 575"),
        Change("kernel", "kernel 6.8 -> 6.9"),
        Change("library.pytest-dsr1", "library.pytest-dsr1 0.1 -> 0.2"),
    )
    evidence = found(since=Since("run", "the last green run", changes))
    assert evidence.green == "run"
    assert evidence.changed == {
        "gpu.vboost": "known",
        "driver": "under_test",
        "kernel": "shown",
        "library.pytest-dsr1": "under_test",
    }
    assert (evidence.software_same, evidence.software_changed) == (False, ("driver 570 -> 575",))
    assert found(since=Since("references", "the references", changes[:1])).software_same is True


def test_options_in_effect() -> None:
    run = measurement()
    options = [
        Option("max_batch_size", 4, "log", 8),
        Option("x", True, "log", False),
        Option("y", 1, "log", 1),
    ]
    facts = replace(run.result.facts, options_in_effect=saved(options))
    evidence = found(result=replace(run.result, facts=facts))
    assert evidence.options == (
        OptionDifference("max_batch_size", "8", "4", matters=True),
        OptionDifference("x", "off", "on", matters=False),
    )
    assert (evidence.options_read, found().options_read) == (True, False)


def test_options_that_change_nothing_are_no_difference() -> None:
    """By the table of options; an option of one engine alone may matter."""
    options = [Option("gpu_memory_fraction", 0.85, "log", 0.9), Option("print_iter_log", 1, "log", 2)]
    run = measurement()
    facts = replace(run.result.facts, options_in_effect=saved(options))
    (option,) = found(result=replace(run.result, facts=facts)).options
    assert option.what == "print_iter_log"


def test_options_that_were_asked_for_and_not_read() -> None:
    run = measurement()
    options = saved([Option("tp", 8, "log", 8), Option("cuda_graphs", "auto", "log", True)])
    evidence = found(result=replace(run.result, facts=replace(run.result.facts, options_in_effect=options)))
    assert (evidence.options_read, evidence.options_not_read) == (True, ("cuda_graphs",))


def test_the_known_cost_of_an_option_that_was_not_in_effect() -> None:
    run = measurement(scenario=shipped("b200/min-latency"))
    options = saved([Option("cuda_graphs", False, "log", True), Option("max_batch_size", 1, "log", 4)])
    facts = replace(run.result.facts, options_in_effect=options)
    evidence = found(scenario=run.scenario, result=replace(run.result, facts=facts))
    assert evidence.options == (
        OptionDifference("cuda_graphs", "on", "off", matters=True, cost_percent=86.1),
        OptionDifference("max_batch_size", "4", "1", matters=True),
    )


def test_a_version_alone_says_nothing_about_options() -> None:
    run = measurement()
    for option, read in (
        (Option("version", "1.2", "/version"), False),
        (Option("tp", 8, "log"), False),
        (Option("max_seq_len", 8, "log", 8), False),
        (Option("tp", 8, "log", 8), True),
    ):
        facts = replace(run.result.facts, options_in_effect=saved([option]))
        assert found(result=replace(run.result, facts=facts)).options_read is read


def test_options_that_the_published_run_did_not_have() -> None:
    """They count while the scenario was never good with them."""
    file = SUITES / "b200" / "min-latency.yaml"
    settings = ("engine.llm_api.cuda_graph_config=null", "engine.ep=4")
    gpus: dict[str, FactValue] = {"gpu.name": "NVIDIA B200", "gpu.count": 8}
    run: dict[str, Any] = {
        "scenario": load(file, overrides=settings).scenario,
        "fingerprint": Fingerprint(gpus),
    }
    (option,) = found(**run).options
    assert option == OptionDifference(
        "engine.llm_api.cuda_graph_config", "as published", "changed", matters=True, cost_percent=86.1
    )
    assert found(since=Since("run", "the last green run"), **run).options == ()
    spoiled = replace(FAILED, status=Status.INVALID, verdicts=())
    assert found(spoiled, **run).options == (), "they are not why a run does not count"


def test_whether_the_options_are_the_published_ones() -> None:
    published = shipped("h200/max-throughput")
    gpus: dict[str, FactValue] = {"gpu.name": "NVIDIA H200", "gpu.count": 8}
    run: dict[str, Any] = {"scenario": published, "fingerprint": Fingerprint(gpus)}
    assert found(**run).options_as_published is True
    file = SUITES / "h200" / "max-throughput.yaml"
    run["scenario"] = load(file, overrides=("load.concurrency=512",)).scenario
    assert found(**run).options_as_published is False
    assert found().options_as_published is None


def test_the_software_of_a_server_is_not_recorded() -> None:
    same = Since("run", "the last green run")
    server = scenario(engine={"type": "openai", "url": "http://localhost:8000"})
    assert found(since=same).software_same is True
    assert found(since=same, scenario=server).software_same is None
    changed = Since("run", "the last green run", (Change("driver", "driver 570 -> 575"),))
    assert found(since=changed, scenario=server).software_same is False


def test_the_versions_that_the_engine_ran_are_software() -> None:
    changed = Since("run", "", (Change("engine.tensorrt_llm", "engine.tensorrt_llm 1.2.0 -> 1.2.1"),))
    assert found(since=changed).software_changed == ("engine.tensorrt_llm 1.2.0 -> 1.2.1",)


PROBES: dict[str, FactValue] = {
    "probe.memory_bandwidth_gb_s": 4248.0,
    "probe.bf16_tflops": 670.0,
    "gpu.uuids": ["GPU-a"],
}
GRAPHS = Option("cuda_graphs", True, "log", True)
AS_GOOD = Since("run", "the last green run", probes=PROBES)
NEWER = replace(AS_GOOD, changes=(Change("engine.vllm", "engine.vllm 0.25 -> 0.26"),))


def cause(
    share: float,
    *options: Option,
    probes: dict[str, FactValue] = PROBES,
    since: Since | None = AS_GOOD,
    throttled: float = 0.0,
    clues: tuple[FoundClue, ...] = (),
    findings: tuple[Finding, ...] = (),
    events: tuple[Event, ...] = (),
    status: Status = Status.FAIL,
) -> str:
    """Return the cause of a run on one GPU that reached this share of its target."""
    run = measurement()
    facts = replace(run.result.facts, options_in_effect=saved(options))
    judgment = replace(FAILED, status=status, verdicts=(replace(MISSED, measured=100 * share, target=100.0),))
    return cause_of(
        found(
            judgment,
            **watched(throttled, events=events),
            result=replace(run.result, facts=facts),
            fingerprint=Fingerprint(probes),
            clues=clues,
            since=since,
            findings=findings,
        )
    ).kind


def test_from_a_run_to_its_cause() -> None:
    """The situations of test_cause.py, told by the values that a real run has."""
    slow = {**PROBES, "probe.memory_bandwidth_gb_s": 3800.0}
    eager = replace(GRAPHS, in_effect=False)
    short = FoundClue("ramp-and-drain", "too short: send more", cost_percent=10.0)
    lanes = Finding("warning", "GPU 0 PCIe", f"8 of 16 lanes {UNVERIFIED}")
    other = Event(101.0, 0, "foreign process", "pid 7")
    xid = Event(101.0, 0, "xid", "", 79)
    assert cause(0.9, GRAPHS, since=NEWER) == "software"
    assert cause(0.9, since=NEWER) == "unknown", "the options in effect were not read"
    assert cause(0.96, GRAPHS, since=NEWER) == "unknown", "a BF16 probe can hide 3.5%"
    assert cause(0.9, GRAPHS, since=replace(NEWER, probes={})) == "unknown", "no good run was probed"
    assert cause(0.9, GRAPHS, probes={}, since=NEWER) == "unknown", "this run was not probed"
    assert cause(0.9, GRAPHS, since=AS_GOOD) == "unknown", "nothing differs"
    assert cause(0.9, GRAPHS, probes=slow, since=NEWER) == "machine"
    assert cause(0.7, GRAPHS, probes=slow, since=NEWER) == "unknown", "10% is less than half of 30%"
    assert cause(0.8, GRAPHS, since=NEWER, throttled=0.15) == "machine"
    assert cause(0.8, eager, since=AS_GOOD) == "options"
    assert cause(0.8, eager, since=AS_GOOD, throttled=0.15) == "contradiction"
    assert cause(0.85, GRAPHS, since=None, clues=(short,)) == "options"
    assert cause(0.5, GRAPHS, since=None, clues=(short,)) == "unknown", "the ends cost 10% of the 50%"
    assert cause(0.9, GRAPHS, since=NEWER, findings=(lanes,)) == "software", "probes refute a doubt"
    assert cause(0.9, GRAPHS, since=replace(NEWER, probes={}), findings=(lanes,)) == "unknown"
    assert cause(0.9, GRAPHS, since=NEWER, events=(other,), status=Status.INVALID) == "machine"
    assert cause(0.9, GRAPHS, since=NEWER, events=(xid,), status=Status.INVALID) == "machine"
    assert cause(0.9, eager, since=NEWER, events=(xid,), status=Status.INVALID) == "contradiction"


@pytest.mark.parametrize(("concurrency", "alone"), [(1, True), (2, False), ("all", False)])
def test_whether_one_request_is_in_flight_at_a_time(concurrency: int | str, alone: bool) -> None:
    load = {"concurrency": concurrency, "num_requests": 4}
    assert found(scenario=scenario(load=load)).one_at_a_time is alone


def test_a_figure_above_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not found().above_peak
    monkeypatch.setattr(gather, "above_peak", lambda run: iter(["too fast"]))
    assert found().above_peak


def test_whether_references_have_probes_of_these_gpus() -> None:
    """Then it is enough to probe this run."""
    facts: dict[str, FactValue] = {"gpu.uuids": NODE.split(",")}
    run = measurement(fingerprint=Fingerprint(facts))
    for probes, probed in (({"memory_bandwidth_gb_s": 4255.0}, True), ({}, False)):
        accepted = references(runs=tuple(replace(reference(number), probes=probes) for number in range(10)))
        evidence = evidence_of(FAILED, run, (), None, accepted)
        assert evidence is not None
        assert evidence.good_was_probed is probed


TRITON = Change("in_effect.attention_backend", "in effect: attention_backend FLASHINFER -> TRITON")


def test_an_engine_that_chose_otherwise_by_itself() -> None:
    """With other software that is what changed in it. A smaller cache may come from another process."""
    assert cause(0.9, GRAPHS, since=replace(NEWER, changes=(*NEWER.changes, TRITON))) == "software"
    evidence = found(since=replace(NEWER, changes=(TRITON, *NEWER.changes)))
    assert evidence.software_changed == ("engine.vllm 0.25 -> 0.26", TRITON.text)
    assert evidence.changed == {"engine.vllm": "known"}
    same = replace(AS_GOOD, changes=(TRITON,))
    evidence = found(since=same)
    assert (evidence.software_changed, evidence.changed) == ((), {TRITON.key: "known"})
    assert "changed since it was good: in_effect.attention_backend" in cause_of(evidence).sentence
    assert cause(0.9, GRAPHS, since=same) == "unknown"
    smaller = Change("in_effect.kv_cache_tokens", "in effect: kv_cache_tokens 900000 -> 20000")
    assert cause(0.9, GRAPHS, since=replace(NEWER, changes=(*NEWER.changes, smaller))) == "unknown"
    longer = Change("in_effect.max_seq_len", "in effect: max_seq_len 4096 -> 8192")
    assert cause(0.9, GRAPHS, since=replace(NEWER, changes=(*NEWER.changes, longer))) == "software"


def test_a_variable_that_was_exported_is_a_suspicion() -> None:
    exported = Change("environment.NCCL_P2P_DISABLE", "environment.NCCL_P2P_DISABLE not given -> 1")
    assert cause(0.9, GRAPHS, since=replace(NEWER, changes=(*NEWER.changes, exported))) == "unknown"


@pytest.mark.parametrize("change", [TRITON, Change("environment.OMP_X", "environment.OMP_X 1 -> 2")])
def test_what_was_not_asked_for_makes_no_clue_convict(change: Change) -> None:
    """The good run was asked for the same, so something else is why they differ, perhaps the machine."""
    few = FoundClue("low-concurrency", "too few: send more")
    sentence = cause_of(found(clues=(few,), since=AS_GOOD)).sentence
    assert sentence.startswith("not known: too few, with the options of when it was good")
    sentence = cause_of(found(clues=(few,), since=replace(AS_GOOD, changes=(change,)))).sentence
    assert sentence.startswith(f"not known: too few; changed since it was good: {change.key}")


def test_references_that_miss_the_target_too_excuse_no_machine() -> None:
    """The machine may have been as slow when they were recorded."""
    now: dict[str, FactValue] = {**PROBES, "gpu.uuids": NODE.split(",")}
    probes: dict[str, FactValue] = {
        name.removeprefix("probe."): PROBES[name] for name in PROBES if name[0] == "p"
    }
    accepted = references(runs=tuple(reference(number, probes=probes) for number in range(10)))
    run = measurement(**watched(0.0), fingerprint=Fingerprint(now))
    run = replace(
        run,
        result=replace(run.result, facts=replace(run.result.facts, options_in_effect=saved([GRAPHS]))),
    )
    newer = Since("references", "the references", NEWER.changes)
    evidence = evidence_of(FAILED, run, (), newer, accepted)
    assert evidence is not None
    assert cause_of(evidence).kind == "software"
    evidence = evidence_of(FAILED, run, (), Since(doubt="they do not either"), accepted)
    assert evidence is not None
    cause = cause_of(evidence)
    assert cause.sentence == (
        "not known: no good run was probed on these GPUs, so the machine is not excluded; options in effect "
        "as asked for"
    )
    assert cause.next_step == "go through `pytest-dsr1 docs why-low`", "there is no good run to probe"
    evidence = replace(evidence, green="run")
    assert cause_of(evidence).next_step == (
        "probe a good run too: add --dsr1-probe to one that meets its targets, or to a recording"
    )
