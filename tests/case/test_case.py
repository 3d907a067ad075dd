"""From saved runs to the cause in the overview: nothing between them is made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from pytest_dsr1.case.case import case_of
from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.in_effect import Option, saved, with_asked
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.history import history
from pytest_dsr1.gate.saved import write_verdicts
from pytest_dsr1.machine.values import UNVERIFIED, Event
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import load
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.reporting.terminal.overview import overview
from tests.helpers.saved_runs import BEGAN, Made, judged, save

PROBES = {
    "probe.memory_bandwidth_gb_s": "4255",
    "probe.bf16_tflops": "680",
    "probe.fp8_tflops": "1230",
    "probe.all_reduce_64kib_us": "66",
    "probe.all_reduce_256mib_gb_s": "270",
    "probe.peer_side_by_side_gb_s": "388",
    "probe.after.memory_bandwidth_gb_s": "4255",
}
AS_ASKED = (Option("tp", 8, "report"), Option("cuda_graphs", True, "log"))
ASKED: Mapping[str, object] = {"tp": 8, "cuda_graphs": True}
NEW = {"engine.tensorrt-llm": "1.3.0"}


@dataclass(frozen=True)
class Story:
    """A good run, and a bad one two days later with the next version of its engine, on 8 GPUs.

    Attributes:
        facts: of the bad run, which replace those of the good one.
        read: its options that were read.
        asked: its options that were asked for.
        findings: what else its checks found.
        events: what happened to its GPUs: kind, and seconds after the measured time began.
        record: changes its first request.
        without_good: whether there is no good run.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    read: Sequence[Option] = AS_ASKED
    asked: Mapping[str, object] = field(default_factory=lambda: ASKED)
    findings: tuple[Finding, ...] = ()
    xid: tuple[float, int] | None = None
    record: Callable[[RequestRecord], RequestRecord] | None = None
    without_good: bool = False

    def change(self, run: Measurement) -> Measurement:
        """Return the run with its options, findings and events."""
        options = saved(with_asked(self.read, self.asked))
        result = replace(run.result, facts=EngineFacts(options_in_effect=options))
        if self.record is not None:
            result = replace(result, records=(self.record(result.records[0]), *result.records[1:]))
        events = () if self.xid is None else (Event(1000.0 + self.xid[0], 1, "xid", "", self.xid[1]),)
        telemetry = replace(run.telemetry, events=events)
        return replace(run, result=result, telemetry=telemetry, findings=(*run.findings, *self.findings))

    def told(self, folder: Path) -> str:
        """Return the cause as the overview tells it."""
        results, good = folder / "results", Made(waves=6, day=1, facts=tuple(PROBES.items()))
        if not self.without_good:
            run = save(results, good, Story().change)
            write_verdicts(run.folder, judged(run, good).verdicts)
        bad = replace(good, day=3, speed=0.8, facts=tuple({**PROBES, **NEW, **self.facts}.items()))
        run = load(save(results, bad, self.change).folder)
        case = case_of(judged(run, bad), folder / "store", BEGAN + timedelta(days=4), history(results))
        lines = [text for text, _ in overview([case], 10_000, {})]
        return (
            next(line for line in lines if line.lstrip().startswith("cause "))
            .strip()
            .removeprefix("cause ")
            .strip()
        )


SOFTWARE = (
    "the software: machine and options are excluded (probes as in the last green run that was probed, to "
    "0.0%; options in effect as asked for); changed since it was good: engine.tensorrt-llm 1.2.1 -> 1.3.0; "
    "next: "
)
SLOW_COPY = Finding(
    "warning", "GPU 1", "copies memory 6.1% slower than the other seven, measured after the run"
)

STORIES: Mapping[str, tuple[Story, str]] = {
    "a new version": (Story(), SOFTWARE),
    "an option that changes nothing": (
        Story(
            read=(*AS_ASKED, Option("gpu_memory_fraction", 0.85, "log")),
            asked={**ASKED, "gpu_memory_fraction": 0.9},
        ),
        SOFTWARE,
    ),
    "lanes that the probes refute": (
        Story(findings=(Finding("warning", "GPU 1 PCIe", f"8 of 16 lanes are in use {UNVERIFIED}"),)),
        SOFTWARE,
    ),
    "slow memory": (
        Story({"probe.memory_bandwidth_gb_s": "3600"}),
        "the machine: memory bandwidth -15.4% against the last green run that was probed; next: ",
    ),
    "no graphs": (
        Story(read=(AS_ASKED[0], replace(AS_ASKED[1], in_effect=False))),
        "the options: cuda_graphs was off instead of on; next: ",
    ),
    "an option that was not read": (Story(read=AS_ASKED[:1]), "asked for, but not read: cuda_graphs; next: "),
    "errors that grew": (
        Story(
            findings=(
                Finding(
                    "warning",
                    "GPU 1 repaired errors",
                    f"grew during the run: PCIe replays from 0 to 9,000 {UNVERIFIED}",
                ),
            )
        ),
        "not known: GPU 1 repaired errors: grew during the run: PCIe replays from 0 to 9,000; changed",
    ),
    "an Xid error before the measured time": (
        Story(xid=(-3.0, 79)),
        "not known: outside the measured time, Xid 79 (GPU has fallen off the bus); changed",
    ),
    "a process that was allowed": (
        Story(
            findings=(
                Finding(
                    "warning", "GPU 1 sharing", "other compute processes are on this GPU: pid 4242; end them"
                ),
            )
        ),
        "not known: GPU 1 sharing: other compute processes are on this GPU: pid 4242; changed",
    ),
    "slow after the run": (
        Story({"probe.after.memory_bandwidth_gb_s": "3995"}, findings=(SLOW_COPY,)),
        "not known: memory bandwidth -6.1% after the run against before it; changed",
    ),
    "a slow ring": (
        Story({"probe.peer_side_by_side_gb_s": "190"}),
        "not known: peer ring -51.0% against the last green run that was probed; changed",
    ),
    "a request that failed": (
        Story(record=lambda request: replace(request, error="the server said no")),
        "not known: 1 of 1536 requests failed, the first: the server said no; changed",
    ),
    "never good": (
        Story(without_good=True),
        "the options: a step has 32 requests per rank, but CUDA graphs were captured only for batches of 128",
    ),
}


@pytest.mark.parametrize(("story", "told"), STORIES.values(), ids=STORIES)
def test_the_overview_tells_the_cause(tmp_path: Path, story: Story, told: str) -> None:
    cause = story.told(tmp_path)
    assert told in cause
    assert cause.startswith(("the ", "not known: "))
    if story.record is None:
        return
    assert cause.endswith("next: do what the message says, and run again")
