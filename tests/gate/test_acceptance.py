"""Accepting: which runs are taken, over how many requests, what is refused, and what is reported."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_dsr1.errors import InvalidRunError, NoReferenceError, ReferencesError, UserError
from pytest_dsr1.gate.acceptance import accept, reference_run
from pytest_dsr1.gate.accuracy import reference_answers
from pytest_dsr1.gate.recordings import RecordedAnswers, folder_of, read
from pytest_dsr1.gate.reference_file import locked, path_of, write
from pytest_dsr1.gate.reference_file import read as read_accepted
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import SteadyFigure, steady_figure
from pytest_dsr1.steady.trace import Trace
from tests.helpers.loops import closed_loop, powered
from tests.helpers.paths import ROOT
from tests.helpers.recorded_runs import record_nth_run, run_of
from tests.helpers.reference_store import COMPARED, FACTS, NODE, NOW, OTHER_NODE, references, scattered
from tests.helpers.unlistable import unlistable
from tests.helpers.values import scenario

MORE = (
    "record more with `pytest --dsr1-profile=small --dsr1-reference=record` "
    "(and the same --dsr1-set, if any), then "
    "`pytest-dsr1 references accept small --reason TEXT`"
)


def accepted_from(store: Path, asked: Scenario | None = None, **changes: Any) -> tuple[References, list[str]]:
    defaults: dict[str, Any] = {"reason": "TensorRT-LLM 1.2.1", "by": "Ann", "now": NOW, "commit": "0123abc"}
    return accept(store, asked or scenario(), **{**defaults, **changes})


def test_recorded_runs_become_references(tmp_path: Path) -> None:
    for number in range(16):
        record_nth_run(tmp_path, number)
    accepted, notes = accepted_from(tmp_path, reason=" TensorRT-LLM\n1.2.1 ")
    assert notes == []
    assert read_accepted(tmp_path, "small", NOW) == accepted
    assert (accepted.profile, accepted.metric, accepted.unit) == ("small", "total_output_throughput", "tok/s")
    assert (accepted.accepted.by, accepted.accepted.reason) == ("Ann", "TensorRT-LLM 1.2.1")
    assert (accepted.accepted.at, accepted.accepted.commit) == (NOW, "0123abc")
    assert accepted.warmup_requests == 2
    assert accepted.facts == COMPARED
    candidates, _ = read(tmp_path, "small")
    assert [run.recording for run in accepted.runs] == [run.name for run in candidates]
    for run, candidate in zip(accepted.runs, candidates, strict=True):
        figure = steady_figure(
            candidate.trace, accepted.metric, warmup_requests=2, requests=accepted.requests
        )
        assert run.value == pytest.approx(figure.value, rel=1e-7)
        assert run.se_percent == pytest.approx(figure.se_percent, abs=1e-4)
        assert (run.at, run.node, run.startup_s) == (candidate.at, NODE, 30.0)
    assert accepted.mean == pytest.approx(8.0, rel=0.01)


def test_the_answers_of_the_runs_are_accepted_with_them(tmp_path: Path) -> None:
    answers = {"questions": RecordedAnswers({"model.content": "ab"}, right=19, answered=20)}
    for number in range(0, 24, 2):
        record_nth_run(
            tmp_path, number, at=NOW - timedelta(hours=30 - number), answers=answers if number else {}
        )
    found, notes = accepted_from(tmp_path)
    assert notes[0] == "questions: 11 of 12 runs have answers, 95% of these right (209 of 220)"
    assert reference_answers.read(tmp_path, "small") == {
        "questions": {run.recording: answers["questions"] for run in found.runs[1:]}
    }
    path = reference_answers.path_of(tmp_path, "small")
    path.write_text(path.read_text("utf-8").replace("[19, 20]", "[20, 20]"), "utf-8")
    with pytest.raises(ReferencesError, match="it was edited by hand or merged"):
        accepted_from(tmp_path)


def test_references_without_answers_leave_no_answers_of_earlier_ones(tmp_path: Path) -> None:
    reference_answers.write(
        tmp_path, "small", {"questions": {"run-1": RecordedAnswers({}, right=1, answered=1)}}
    )
    for number in range(12):
        record_nth_run(tmp_path, number)
    accepted_from(tmp_path)
    assert not reference_answers.path_of(tmp_path, "small").exists()


def test_a_reference_has_the_digits_that_matter(tmp_path: Path) -> None:
    record_nth_run(tmp_path, 0, trace=run_of(startup_s=310.23456))
    (candidate,), _ = read(tmp_path, "small")
    figure = SteadyFigure(7876.54321987, 0.123456, 5.0, 590.12345, 2.0, 40, (1.0,))
    run = reference_run(candidate, figure)
    assert (run.value, run.se_percent) == (7876.5432, 0.1235)
    assert (run.window_s, run.startup_s) == (590.123, 310.235)


def test_references_keep_what_explains_and_is_the_same_in_all_runs(tmp_path: Path) -> None:
    for number in range(12):
        own: dict[str, FactValue] = {
            "environment": ["NCCL_DEBUG=WARN"],
            "in_effect.kv_cache_tokens": 1000 + number,
            "in_effect.moe_backend": ["CUTLASS", "TRTLLM"][number % 2],
        }
        record_nth_run(tmp_path, number, facts={**FACTS, **own})
    accepted, _ = accepted_from(tmp_path)
    assert len(accepted.runs) == 12, "what is only shown may differ"
    assert accepted.shown == {"environment": ["NCCL_DEBUG=WARN"], "in_effect.kv_cache_tokens": 1010}
    assert read_accepted(tmp_path, "small", NOW) == accepted


def test_a_reference_has_the_probes_before_its_run(tmp_path: Path) -> None:
    found: dict[str, FactValue] = {
        "probe.memory_bandwidth_gb_s": 4258.0,
        "probe.fp8_tflops": ["1250", "1100"],
    }
    later: dict[str, FactValue] = {"probe.after.fp8_tflops": 1200.0, "probe.of_a_later_version": 1.0}
    record_nth_run(tmp_path, 0, facts={**FACTS, **found, **later})
    record_nth_run(tmp_path, 1)
    (other, probed), _ = read(tmp_path, "small")
    figure = SteadyFigure(7876.5, 0.1, 5.0, 590.1, 2.0, 40, (1.0,))
    assert reference_run(probed, figure).probes == {
        "memory_bandwidth_gb_s": 4258.0,
        "fp8_tflops": ["1250", "1100"],
    }
    assert reference_run(other, figure).probes is None


def test_the_facts_are_those_of_the_newest_run(tmp_path: Path) -> None:
    """Power limits are rounded, and an earlier version did not read clocks: such facts count as equal."""
    clock = "gpu.max_sm_clock_mhz"
    newest: dict[str, FactValue] = {**FACTS, "gpu.power_limit_w": 700.3, clock: 1980}
    for number in range(15):
        record_nth_run(tmp_path, number)
    record_nth_run(tmp_path, 16, facts=newest)
    accepted, notes = accepted_from(tmp_path, scenario(gate={"under_test": {clock: True}}))
    assert len(accepted.runs) == 16
    assert accepted.facts == {**COMPARED, "gpu.power_limit_w": 700.3, clock: 1980}
    assert notes == []


def test_the_newest_run_decides_what_is_left_out_even_if_it_is_alone(tmp_path: Path) -> None:
    for number in range(16):
        record_nth_run(tmp_path, number)
    record_nth_run(tmp_path, 16, facts={**FACTS, "driver": "580"})
    with pytest.raises(NoReferenceError) as caught:
        accepted_from(tmp_path)
    few, left_out = str(caught.value).splitlines()
    assert few.startswith("small: too few recorded runs to accept: gpu-95a932d6: 1; ")
    assert left_out == (
        "16 recorded runs up to 2025-03-21 are left out; changed since then: driver: 575.57.08 -> 580"
    )


def test_the_gated_number_of_requests_is_what_the_variances_ask_for(tmp_path: Path) -> None:
    """With much noise between starts and little start-up runs are short, and the other way round long.

    Ten times as fast, it is the same number.
    """
    for number in range(10):
        speed = 1 + 0.05 * math.sin(number)
        record_nth_run(tmp_path / "short", number, trace=run_of(speed, startup_s=1.0))
        record_nth_run(tmp_path / "fast", number, trace=run_of(10 * speed, startup_s=0.1))
        record_nth_run(tmp_path / "long", number, trace=run_of(1.0, startup_s=3000.0))
    short, _ = accepted_from(tmp_path / "short")
    fast, _ = accepted_from(tmp_path / "fast")
    long, _ = accepted_from(tmp_path / "long")
    assert fast.requests == short.requests
    assert 8 <= short.requests < 30
    assert short.requests % 2 == 0
    assert long.requests == 60
    assert max(run.window_s for run in short.runs) < min(run.window_s for run in long.runs)


def test_recorded_runs_of_unequal_length_are_judged_over_what_all_of_them_sent(tmp_path: Path) -> None:
    """A long start-up asks for the longest runs that there are; one of these is shorter than the others."""
    for number in range(10):
        shorter = run_of(1 + 0.01 * math.sin(number), requests=40 if number == 4 else 60, startup_s=3000.0)
        record_nth_run(tmp_path, number, trace=shorter)
    accepted, _ = accepted_from(tmp_path)
    assert accepted.requests == 40
    candidates, _ = read(tmp_path, "small")
    for run, candidate in zip(accepted.runs, candidates, strict=True):
        over = steady_figure(candidate.trace, accepted.metric, warmup_requests=2, requests=40)
        assert run.value == pytest.approx(over.value, rel=1e-7)


def uneven(number: int, sd: float, between: float) -> Trace:
    """Return requests of one user, of about 1 s, which differ by ``sd``; all of a run by ``between``."""
    factors = 1 + sd * np.random.default_rng(7).normal(size=60)
    speed = 1 + between * (-1) ** number
    run = closed_loop(60, 1, lambda i, _: (0.0, factors[i] / speed), tokens=lambda _: 4, streaming=False)
    return replace(run, gpus=0, startup_s=0.0)


@pytest.mark.parametrize(("between", "requests"), [(0.003, 60), (0.0105, 60), (0.011, 49), (0.03, 7)])
def test_what_differs_within_runs_makes_them_no_shorter(
    tmp_path: Path, between: float, requests: int
) -> None:
    """Requests that differ by 8% give figures an error of 1.13%; starts that differ by less are not noisy."""
    for number in range(10):
        record_nth_run(tmp_path, number, trace=uneven(number, 0.08, between))
    accepted, _ = accepted_from(tmp_path)
    assert accepted.requests == requests


def test_a_gate_on_energy_is_long_enough_for_its_readings(tmp_path: Path) -> None:
    """Runs of half a minute, of which the variances ask for a few seconds; energy is read once per second."""
    for number in range(10):
        run = replace(run_of(1 + 0.05 * math.sin(number), startup_s=1.0), gpus=2)
        record_nth_run(tmp_path, number, trace=powered(run, 1200.0, every_s=1.0, to_s=40.0))
    short, _ = accepted_from(tmp_path)
    gate = {"metric": "energy_per_output_token"}
    accepted, _ = accepted_from(tmp_path, scenario(gate=gate))
    assert accepted.mean == pytest.approx(150, rel=0.02)
    assert min(run.window_s for run in accepted.runs) >= 10
    assert short.requests < accepted.requests < 60


def test_runs_of_a_node_each_say_nothing_of_starts(tmp_path: Path) -> None:
    """No two runs are from one node, so nothing is known against the longest runs."""
    for number in range(10):
        there: dict[str, FactValue] = {**FACTS, "gpu.uuids": [f"GPU-{number}"]}
        record_nth_run(
            tmp_path, number, facts=there, trace=run_of(1 + 0.05 * math.sin(number), startup_s=1.0)
        )
    accepted, _ = accepted_from(tmp_path, scenario(gate={"under_test": {"gpu.uuids": True}}))
    assert (accepted.noise_percent, accepted.requests) == (None, 60)


def test_a_scenario_says_metric_and_warm_up(tmp_path: Path) -> None:
    for number in range(10):
        record_nth_run(tmp_path, number)
    gate = {"metric": "average_request_latency", "warmup_requests": 6}
    accepted, _ = accepted_from(tmp_path, scenario(gate=gate))
    assert (accepted.metric, accepted.unit, accepted.better) == ("average_request_latency", "ms", "lower")
    assert accepted.warmup_requests == 6


def test_runs_of_other_software_are_left_out_and_reported(tmp_path: Path) -> None:
    older: dict[str, FactValue] = {**FACTS, "library.torch": "2.9.0", "gpu.power_limit_w": 500.0}
    shown: dict[str, FactValue] = {**FACTS, "kernel": "6.9", "hostname": "another"}
    for number in range(20):
        record_nth_run(tmp_path, number, facts=older if number < 4 else shown if number < 6 else FACTS)
    accepted, notes = accepted_from(tmp_path)
    assert len(accepted.runs) == 16
    assert notes == [
        "4 recorded runs up to 2025-03-15 are left out; changed since then: gpu.power_limit_w: 500 -> 700; "
        "library.torch: 2.9.0 -> 2.10.0"
    ]


def test_too_few_runs_are_refused_with_counts_by_node(tmp_path: Path) -> None:
    older: dict[str, FactValue] = {**FACTS, "driver": "570"}
    there: dict[str, FactValue] = {**FACTS, "gpu.uuids": ["GPU-c", "GPU-d"]}
    for number in range(20):
        record_nth_run(tmp_path, number, facts=older if number < 5 else FACTS if number < 14 else there)
    with pytest.raises(NoReferenceError) as caught:
        accepted_from(tmp_path)
    assert str(caught.value) == (
        "small: too few recorded runs to accept: gpu-95a932d6: 9, gpu-a71f6e13: 6; at least 10 on one node "
        f"are required, 15 are recommended; {MORE}\n"
        "5 recorded runs up to 2025-03-16 are left out; changed since then: driver: 570 -> 575.57.08"
    )
    assert not path_of(tmp_path, "small").exists()
    accepted, notes = accepted_from(tmp_path, scenario(gate={"under_test": {"gpu.uuids": True}}))
    assert accepted.nodes == {NODE: 9, OTHER_NODE: 6}
    assert len(notes) == 1


def test_few_runs_are_reported_by_node(tmp_path: Path) -> None:
    """15 are enough, and 10 are enough for a gate."""
    for uuids, count in ((["GPU-b", "GPU-a"], 15), (["GPU-d", "GPU-c"], 10), (["GPU-e", "GPU-f"], 9)):
        for number in range(count):
            record_nth_run(tmp_path, number, facts={**FACTS, "gpu.uuids": uuids})
    _, notes = accepted_from(tmp_path)
    assert notes == [
        "warning: node gpu-a71f6e13 has only 10 of the 15 recommended runs, so gates there take more runs; "
        + MORE,
        "warning: node gpu-3ae277fb has only 9 of the 15 recommended runs, so no gate can run there yet; "
        + MORE,
    ]


def test_few_runs_of_a_class_of_nodes(tmp_path: Path) -> None:
    for number in range(12):
        record_nth_run(tmp_path, number)
    _, notes = accepted_from(tmp_path, scenario(gate={"under_test": {"gpu.uuids": True, "x.*": True}}))
    assert notes == [
        f"warning: there are only 12 of the 15 recommended runs; {MORE}",
        "gate.under_test: 'x.*' matches no fact that the gate compares; see `fingerprint` in "
        "measurement.json for the list",
    ]


def test_runs_of_one_day_are_reported(tmp_path: Path) -> None:
    for number in range(16):
        record_nth_run(tmp_path, number, at=NOW - timedelta(minutes=30 * (number + 1)))
    _, notes = accepted_from(tmp_path)
    assert notes == [
        "warning: all runs are from one day (2025-03-24), so they do not show day-to-day variation; "
        "record on other days too"
    ]


def test_what_changed_since_the_earlier_references_is_reported(tmp_path: Path) -> None:
    before = references(facts={**COMPARED, "driver": "570"})
    write(tmp_path, before)
    for number in range(16):
        record_nth_run(tmp_path, number, trace=run_of(0.9))
    accepted, notes = accepted_from(tmp_path)
    assert notes == [
        "mean 8.075 -> 7.203 tok/s (-10.8%), noise 0.59% -> 0.00%, requests 4 -> 60, runs 16 -> 16",
        "changed since the earlier references: driver: 570 -> 575.57.08",
    ]
    write(tmp_path, replace(before, metric="average_tpot", unit="ms", better="lower"))
    _, notes = accepted_from(tmp_path)
    assert notes[0] == "the gated metric was average_tpot before"
    assert read_accepted(tmp_path, "small", NOW).runs == accepted.runs


def test_a_node_that_loses_its_references_is_reported(tmp_path: Path) -> None:
    """As where each machine keeps its own recorded runs, and one file is in git."""
    lost, none = "GPU-e,GPU-f", "GPU-g,GPU-h"
    counts = {NODE: 12, OTHER_NODE: 10, lost: 12, none: 9}
    runs = [run for node, count in counts.items() for run in scattered(count, node=node)]
    write(tmp_path, references(runs=tuple(runs), requests=60))
    for number in range(10):
        record_nth_run(tmp_path, number)
        if number:
            record_nth_run(tmp_path, number, facts={**FACTS, "gpu.uuids": lost.split(",")})
    _, notes = accepted_from(tmp_path)
    assert notes[-3].endswith(", runs 43 -> 19")
    assert notes[-2:] == [
        "warning: node gpu-a71f6e13 had 10 references and has 0 now: no gate can run there; its recorded "
        "runs are not in this folder, or were left out",
        "warning: node gpu-3ae277fb had 12 references and has 9 now: no gate can run there; its recorded "
        "runs are not in this folder, or were left out",
    ]


def test_old_runs_are_reported_whenever_they_are_accepted(tmp_path: Path) -> None:
    for number in range(16):
        record_nth_run(tmp_path, number, at=NOW - timedelta(days=400 - number))
    long_ago = NOW - timedelta(days=380)
    assert accepted_from(tmp_path, now=long_ago)[1] == []
    accepted, notes = accepted_from(tmp_path)
    old = (
        "the references on node gpu-95a932d6, accepted on 2025-03-24, are old: half of the runs were "
        "recorded on or before 2024-02-25, 393 or more days ago (limit 90 days). Machines drift: move "
        "old runs out of candidates/small, then "
    )
    assert notes[0] == f"warning: small: {old}{MORE}"
    assert accepted.age_days(NOW) == 393
    class_of_nodes = scenario(gate={"under_test": {"gpu.uuids": True}})
    assert accepted_from(tmp_path, class_of_nodes)[1][0] == notes[0]


def test_a_step_that_no_fact_shows_is_reported(tmp_path: Path) -> None:
    """Software built anew under the same version, another BIOS: the fingerprint is as before.

    The last of the earlier runs began at the very time of the acceptance.
    """
    for number in range(12):
        record_nth_run(tmp_path, number)
    accepted_from(tmp_path, now=NOW - timedelta(days=5))
    for number in range(12, 16):
        record_nth_run(tmp_path, number, trace=run_of(0.8975 + 0.01 * math.sin(number)))
    accepted, notes = accepted_from(tmp_path)
    assert len(accepted.runs) == 16
    assert notes[-1] == (
        "warning: the level on node gpu-95a932d6 has changed since the last acceptance (2025-03-19): 12 "
        "earlier runs averaged 8.016 tok/s, 4 later runs average 7.222 (-9.9%). This is more than chance, "
        "but all recorded facts are equal, so something outside the fingerprint changed, and these "
        "references mix both levels. If the new level is right, move the earlier runs out of "
        f"{folder_of(tmp_path, 'small')} and accept again"
    )


def test_more_runs_of_the_same_level_are_no_step(tmp_path: Path) -> None:
    for number in range(12):
        record_nth_run(tmp_path, number)
    accepted_from(tmp_path, now=NOW - timedelta(days=4, hours=12))
    for number in range(12, 16):
        record_nth_run(tmp_path, number)
    notes = accepted_from(tmp_path)[1]
    assert len(notes) == 1
    assert notes[0].startswith("mean ")


def test_no_reason_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--reason is empty; say why these runs represent the"):
        accepted_from(tmp_path, reason=" \n")


def test_nothing_recorded(tmp_path: Path) -> None:
    with pytest.raises(NoReferenceError) as caught:
        accepted_from(tmp_path)
    assert str(caught.value) == f"{tmp_path}/candidates/small: there are no recorded runs of small; {MORE}"


def test_a_run_that_began_later_than_clocks_may_differ_is_refused(tmp_path: Path) -> None:
    for number in range(9):
        record_nth_run(tmp_path, number)
    latest = NOW + timedelta(minutes=5)
    record_nth_run(tmp_path, 9, at=latest)
    accepted, _ = accepted_from(tmp_path)
    assert accepted.runs[-1].at == latest
    path = record_nth_run(tmp_path, 10, at=latest + timedelta(seconds=1))
    with pytest.raises(ReferencesError) as caught:
        accepted_from(tmp_path)
    assert str(caught.value) == (
        f"{path}: the run began at 2025-03-24T12:05:01+00:00, but it is 2025-03-24T12:00:00+00:00 now: a "
        "clock was wrong; set the clock, or move the file out of the folder"
    )


def test_a_damaged_recording_stops_everything(tmp_path: Path) -> None:
    for number in range(16):
        path = record_nth_run(tmp_path, number)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ReferencesError, match=r"\.json: is not JSON .*: restore the file, or move"):
        accepted_from(tmp_path)
    assert not path_of(tmp_path, "small").exists()


def test_a_damaged_file_of_references_is_not_overwritten(tmp_path: Path) -> None:
    for number in range(16):
        record_nth_run(tmp_path, number)
    path = write(tmp_path, references())
    path.write_text(path.read_text(encoding="utf-8").replace("8.01", "7.01"), encoding="utf-8")
    damaged = path.read_bytes()
    with pytest.raises(
        ReferencesError, match=r"does not match its checksum: .* or delete it and accept again"
    ):
        accepted_from(tmp_path)
    assert path.read_bytes() == damaged
    path.unlink()
    assert len(accepted_from(tmp_path)[0].runs) == 16


def test_runs_without_a_figure_are_named(tmp_path: Path) -> None:
    for number in range(12):
        record_nth_run(tmp_path, number)
    short = record_nth_run(tmp_path, 12, trace=run_of(requests=3))
    with pytest.raises(ReferencesError) as caught:
        accepted_from(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{short}: 3 requests are too few for a steady figure")
    assert lines[1:] == ["or move these files out of the folder and accept again"]


def test_runs_that_are_too_short_for_a_gate(tmp_path: Path) -> None:
    for number in range(12):
        record_nth_run(tmp_path, number, trace=run_of(requests=8))
    with pytest.raises(
        ReferencesError, match="small: runs of 8 requests are too short for a gate: it needs "
    ):
        accepted_from(tmp_path)


def test_a_gate_that_runs_is_not_disturbed(tmp_path: Path) -> None:
    for number in range(16):
        record_nth_run(tmp_path, number)
    with (
        locked(tmp_path, "small", "gate of small"),
        pytest.raises(InvalidRunError, match=r"in use by pid \d+ .*: gate of small; wait for it to end"),
    ):
        accepted_from(tmp_path)


WRITER = """
import sys
from pathlib import Path
from tests.helpers.recorded_runs import record_nth_run
for number in range(10, 20):
    record_nth_run(Path(sys.argv[1]), number)
"""


def test_recording_and_accepting_at_once_lose_nothing(tmp_path: Path) -> None:
    for number in range(10):
        record_nth_run(tmp_path, number)
    sizes = []
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT) as writer:
        while writer.poll() is None:
            sizes.append(len(accepted_from(tmp_path)[0].runs))
    assert writer.returncode == 0
    assert sizes == sorted(sizes)
    assert len(accepted_from(tmp_path)[0].runs) == 20
    assert len(list(folder_of(tmp_path, "small").iterdir())) == 20


def test_recorded_runs_that_cannot_be_listed_are_not_reported_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record_nth_run(tmp_path, 0).parent
    unlistable(monkeypatch, folder)
    with pytest.raises(ReferencesError, match=f"^{folder}: cannot be listed: Permission denied; "):
        accepted_from(tmp_path)
