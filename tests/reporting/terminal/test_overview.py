"""The PERFORMANCE OVERVIEW at several widths."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.case.case import Case, case_of
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.engines.facts import EngineFacts, RoleServer, ServerFigures
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.saved import write_gate
from pytest_dsr1.machine.cpu_load import CpuLoad
from pytest_dsr1.machine.telemetry.health import GpuStatistics, GpuSummary
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import combine
from pytest_dsr1.metrics.inputs import GpuTotals
from pytest_dsr1.reporting.charts.request_data import Steady, steady
from pytest_dsr1.reporting.ci.junit import properties
from pytest_dsr1.reporting.compare.differences import differences
from pytest_dsr1.reporting.terminal.overview import overview
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.schema.scenario import Target
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.study.eligibility import figure
from pytest_dsr1.text import number
from pytest_dsr1.verdict.targets import judge
from pytest_dsr1.verdict.verdict import Status, Verdict
from tests.helpers.metrics import from_records
from tests.helpers.published import measured, shipped
from tests.helpers.saved_gate import GATE
from tests.helpers.scenario_files import load_text
from tests.helpers.values import NOISE, answers, case, measurement, records, scenario

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
CLUE = FoundClue("throttled", "GPU 0 is hot", "docs/why-low.md#throttled")


def outcome(loaded: LoadedScenario, **changes: Any) -> ScenarioOutcome:
    run = measurement(Path(".dsr1/small/20261123T200512Z"), **changes)
    done = ScenarioOutcome(loaded, "suites/small.yaml", measurement=run)
    done.verdicts = [
        judge(Target(metric="total_output_throughput", value=8.0), run, NOISE),
        judge(Target(metric="average_ttft", value=200.0), run, NOISE),
    ]
    return done


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedScenario:
    import yaml

    from pytest_dsr1.scenario.loading import load

    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(scenario().model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return load(path)


def cases(*outcomes: ScenarioOutcome) -> list[Case]:
    return [case_of(each, Path("no-references"), NOW) for each in outcomes]


def text(outcomes: list[ScenarioOutcome], width: int) -> list[str]:
    return [line for line, _ in overview(cases(*outcomes), width, {})]


def test_at_120_columns_a_target_is_one_line(loaded: LoadedScenario) -> None:
    lines = text([outcome(loaded)], 140)
    assert lines[0] == "small  (CPU, engine transformers)"
    assert [" ".join(line.split()) for line in lines[1:3]] == [
        "PASS total output throughput 8 tok/s +0.0% bound >= 7.6, target 8 tok/s",
        "FAIL average time to first token (TTFT) 250 ms -25.0% bound <= 210, target 200 ms",
    ]
    assert lines[-1] == "  results .dsr1/small/20261123T200512Z"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_nothing_is_wider_than_the_terminal(loaded: LoadedScenario, width: int) -> None:
    many = outcome(loaded, findings=(Finding("warning", "GPU 0", "word " * 60),))
    assert max(map(len, text([many], width))) <= width


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_from_outside_drives_neither_the_terminal_nor_a_ci_server(
    loaded: LoadedScenario, width: int
) -> None:
    hostile = "\x1b[2J\u202e ::error file=a,line=1::bad\n ::add-mask::H200\n##[group]x " + "y " * 50
    run = outcome(loaded, gpu_health=GpuSummary(hostile), findings=(Finding("warning", "GPU 0", hostile),))
    run.notes.append(hostile)
    failed = ScenarioOutcome(loaded, "suites/small.yaml", error=InvalidRunError(hostile))
    for line in text([run, failed], width):
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_a_replay_tells_what_the_saved_gate_said(loaded: LoadedScenario, tmp_path: Path) -> None:
    run = outcome(loaded)
    assert run.measurement is not None
    run.measurement = replace(run.measurement, folder=tmp_path)
    write_gate(tmp_path, GATE)
    assert "  gate    FAIL when it ran, not judged again: a loss is shown" in text([run], 100)
    refused = replace(GATE, status=Status.INCONCLUSIVE, verdict=None, error="12 runs did not decide")
    write_gate(tmp_path, refused)
    assert "  gate    INCONCLUSIVE when it ran, not judged again: 12 runs did not decide" in text([run], 100)
    (tmp_path / "gate.json").write_text("{", encoding="utf-8")
    assert any("is not JSON" in line for line in text([run], 200))


def test_what_is_said_beside_the_targets(loaded: LoadedScenario) -> None:
    run = outcome(
        loaded,
        findings=(Finding("warning", "GPU 0 persistence mode", "is off"),),
        gpu_health=GpuSummary("8 GPUs, 1,755 to 1,980 MHz, 612 W"),
        cpu_load=CpuLoad(2, 0.05, 0.004, 0.0),
    )
    lines = text([run], 200)
    assert "  warning GPU 0 persistence mode: is off" in lines
    assert "  GPUs    8 GPUs, 1,755 to 1,980 MHz, 612 W" in lines
    assert "  CPUs    other work kept 0.05 of 2 busy; the run waited for one 0.4% of the time" in lines
    assert any(line.startswith("  also    per-user output throughput 4 tok/s/user; ") for line in lines)
    assert not any(line.startswith("  energy") for line in lines)


def test_energy_is_shown_or_why_it_is_not(loaded: LoadedScenario) -> None:
    energy = GpuTotals(None, 1400.0)
    found = from_records(records(), 2, gpu=energy, gpu_hour_price=3.6, measured_s=2.0)
    lines = " ".join(text([outcome(loaded, metrics=combine({}, found))], 200))
    for part in ("output token 87.5 J/tok", "request 350 J/req", "watt 0.01143 tok/s/W", "all GPUs 700 W"):
        assert part in lines
    assert "cost per million output tokens 250 currency/Mtok" in lines
    unknown = GpuSummary("8 GPUs, 612 W", why_no_energy="GPU 3: the energy counter stayed at 7 J")
    shown = text([outcome(loaded, gpu_health=unknown)], 200)
    assert "  energy  not measured: GPU 3: the energy counter stayed at 7 J" in shown


def test_of_a_server_that_somebody_else_started_nothing_is_said_about_the_cpus(tmp_path: Path) -> None:
    name = load_text(tmp_path, ATTACHED)
    run = ScenarioOutcome(name, "suites/small.yaml", measurement=measurement(scenario=name.scenario))
    line = "  CPUs    nothing is known of other work next to the server, which pytest-dsr1 did not start"
    assert line in text([run], 200)
    started = load_text(tmp_path, ATTACHED.replace("url: http://x:1", "command: [serve, '{port}']"))
    run = ScenarioOutcome(started, "suites/small.yaml", measurement=measurement(scenario=started.scenario))
    assert not any(one.startswith("  CPUs") for one in text([run], 200))


ATTACHED = """\
name: served
description: A server that runs already
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1}
dataset: {input_tokens: 8, output_tokens: 4, vocab_size: 100}
load: {concurrency: 2, num_requests: 4}
engine:
  type: openai
  url: http://x:1
targets: [{metric: total_output_throughput, value: 1}]
"""


def steady_line(run: ScenarioOutcome) -> str:
    (line,) = (line for line in text([run], 300) if line.startswith("  steady "))
    return line


def loop(*, streaming: bool, waves: int = 12) -> Measurement:
    """Two users whose requests of 4 tokens take a second each."""
    rows = records(2 * waves, streaming=streaming)
    run = measurement(records=rows)
    return replace(run, result=replace(run.result, measured_to_s=100.0 + waves))


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole answers"])
def test_the_steady_figure_is_that_of_pages_and_recordings(loaded: LoadedScenario, streaming: bool) -> None:
    run = loop(streaming=streaming)
    line = steady_line(ScenarioOutcome(loaded, "suites/small.yaml", measurement=run))
    assert line == (
        "  steady  total output throughput 8 tok/s from 1.0 s to 11.0 s, without warm-up and drain (standard "
        "error 0%)"
    )
    recorded, page = figure(run), steady(run)
    assert isinstance(page, Steady)
    assert page.found == recorded
    assert f" {number(recorded.value)} tok/s " in line


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"records": (), "report": {"total_output_throughput": 8.0}},
            "total output throughput has no steady figure: the run has neither request records nor a series "
            "over time; ",
        ),
        ({}, "4 requests are too few for a steady figure: with 2 warm-up requests "),
    ],
    ids=["no records", "too short"],
)
def test_why_there_is_no_steady_figure(loaded: LoadedScenario, changes: dict[str, Any], why: str) -> None:
    run = ScenarioOutcome(loaded, "suites/small.yaml", measurement=measurement(**changes))
    assert steady_line(run).startswith(f"  steady  none: {why}")


def test_answers_have_a_line_each(loaded: LoadedScenario) -> None:
    run = outcome(loaded)
    run.accuracy = [answers(Status.PASS, "same_answers"), answers(), answers(Status.NO_REFERENCE)]
    lines = list(overview([case_of(run, Path("store"), NOW)], 80, {}))
    assert [(line, markup) for line, markup in lines if "accuracy: " in line] == [
        ("  PASS    accuracy: same_answers: 150 of 200 answers are right", {"green": True, "bold": True}),
        ("  FAIL    accuracy: questions: 150 of 200 answers are right", {"red": True, "bold": True}),
        ("  NO REFERENCE accuracy: questions: no answers", {"yellow": True, "bold": True}),
    ]


def test_the_properties_of_a_test_of_answers(loaded: LoadedScenario) -> None:
    run = outcome(loaded)
    run.accuracy = [answers(), answers(Status.MEASURED, "same_answers")]
    found = dict(properties(run, Status.FAIL, "accuracy[questions]"))
    expected = {
        "dsr1_verdict": "FAIL",
        "dsr1_metric": "accuracy",
        "dsr1_measured": "0.75",
        "dsr1_target": "0.95",
        "dsr1_bound": "0.8181",
        "dsr1_message": answers().message,
    }
    assert {key: found[key] for key in expected} == expected
    found = dict(properties(run, Status.MEASURED, "accuracy[same_answers]"))
    assert (found["dsr1_metric"], found["dsr1_measured"]) == ("agreement", "0.5")
    assert found["dsr1_message"] == answers(Status.MEASURED, "same_answers").message
    assert "dsr1_bound" not in found
    assert "dsr1_unit" not in found


def test_an_invalid_run_shows_its_reasons_and_no_number(loaded: LoadedScenario) -> None:
    failed = ScenarioOutcome(
        loaded, "suites/small.yaml", error=InvalidRunError("the run does not count:\n  GPU 5 hot")
    )
    assert text([failed], 80) == [
        "small  (CPU, engine transformers)",
        "  INVALID the run does not count:",
        "            GPU 5 hot",
    ]


def test_two_scenarios_are_set_apart(loaded: LoadedScenario) -> None:
    assert text([outcome(loaded), outcome(loaded)], 120).count("") == 1


def test_fail_is_red_and_pass_green(loaded: LoadedScenario) -> None:
    markup = [
        dict(m)
        for line, m in overview(cases(outcome(loaded)), 140, {})
        if line.startswith(("  PASS", "  FAIL"))
    ]
    assert markup == [{"green": True, "bold": True}, {"red": True, "bold": True}]


def test_junit_properties(loaded: LoadedScenario) -> None:
    found = dict(properties(outcome(loaded), Status.PASS, "target[total_output_throughput]"))
    assert found["dsr1_profile"] == "small"
    assert found["dsr1_verdict"] == "PASS"
    assert found["dsr1_total_output_throughput [tok/s]"] == "8.0"
    assert found["dsr1_results"].endswith("20261123T200512Z")


def test_a_forced_acceptance_length_is_next_to_every_figure(loaded: LoadedScenario) -> None:
    forced = outcome(loaded, scenario=scenario(speculation={"acceptance_length": 2.4}))
    assert text([forced], 120)[0] == "small  (CPU, engine transformers, acceptance length 2.4 forced)"
    found = dict(properties(forced, Status.PASS, "target[total_output_throughput]"))
    assert found["dsr1_forced"] == "acceptance length 2.4 forced"
    assert "dsr1_forced" not in dict(properties(outcome(loaded), Status.PASS, "x"))
    (one,) = cases(forced)
    assert one.headline.endswith("; acceptance length 2.4 forced")


def test_differences_name_what_changed(loaded: LoadedScenario) -> None:
    old = {"gpu.count": 0, "library.torch": "2.9.0", "driver": "\x1b[2J", "model.content": "ab" * 32}
    compared = {
        "benchmarks": [
            {"fullname": "suites/small.yaml::measurement", "extra_info": {"fingerprint": old}},
            {"fullname": "something else", "extra_info": {}},
        ]
    }
    assert list(differences(cases(outcome(loaded)), compared)) == [
        "dsr1: small was measured differently: driver was \\x1b[2J, is not recorded; "
        "library.torch was 2.9.0, is 2.13.0; model.content was abababababab..., is not recorded"
    ]
    assert list(differences(cases(outcome(loaded)), {"benchmarks": []})) == []


def test_the_share_of_the_bandwidth_bound(loaded: LoadedScenario) -> None:
    run = measurement()
    facts = {"share_of_bound": 0.4704, "bandwidth_bound": "a step of 1 reads 6.53 GB: 734.2 tok/s"}
    done = outcome(loaded, result=replace(run.result, facts=EngineFacts.of(facts)))
    assert (
        "  bound   decode reaches 47% of the memory-bandwidth bound: a step of 1 reads 6.53 GB: 734.2 tok/s"
        in text([done], 200)
    )


def test_each_of_several_servers_has_a_line(loaded: LoadedScenario) -> None:
    run = measurement()
    rows = [
        ServerFigures("http://a", 1200, 3, 9000, 512.34, 30.5, 61.0),
        ServerFigures("http://b", 1201, 0, 9, 7.0),
    ]
    done = outcome(loaded, result=replace(run.result, facts=EngineFacts(servers=tuple(rows))))
    lines = text([done], 200)
    first = lines.index("  servers http://a: 512.3 tok/s, 1,200 requests, 3 failed, mean TTFT 30.5 ms")
    assert lines[first + 1] == "          http://b: 7 tok/s, 1,201 requests"
    assert not any(line.startswith("  servers") for line in text([outcome(loaded)], 200))


def test_each_role_of_disaggregated_servers_has_a_line(loaded: LoadedScenario) -> None:
    rows = (
        RoleServer("generation", 1, ["n1"], 8, 230.4, 0.5, 0.41, 0.0, 9876.5),
        RoleServer("context", 1, ["n2"], 4, 3.0, 10.25, 0.2, 5000.0, 8.0),
        RoleServer("context", 2, ["n3"], 4, 4.0, 10.25, None, 5500.0, None),
        RoleServer("other", 1, ["n4"], 1),
    )
    done = outcome(loaded, result=replace(measurement().result, facts=EngineFacts(roles=rows)))
    lines = text([done], 200)
    first = lines.index(
        "  servers 1 generation server on 8 GPUs, 230.4 requests running, 0.5 waiting, 0 tok/s read, "
        "9,876 tok/s written, KV cache up to 41% full"
    )
    assert lines[first + 1 : first + 3] == [
        "          2 context servers on 8 GPUs, 7 requests running, 20.5 waiting, 10,500 tok/s read, KV "
        "cache up to 20% full",
        "          1 other server on 1 GPU",
    ]


@pytest.mark.parametrize(
    ("streams", "failed", "words"),
    [
        (True, 2, ", mean TTFT 30 to 34 ms; requests failed at 1 of them"),
        (False, 0, ""),
    ],
)
def test_of_many_servers_the_spread_is_shown(
    loaded: LoadedScenario, streams: bool, failed: int, words: str
) -> None:
    rows = [
        ServerFigures(
            f"http://s{i}", 10, failed if i == 3 else 0, 99, 500.0 + i, 30.0 + i if streams else None, None
        )
        for i in (4, 0, 1, 2, 3)
    ]
    run = measurement()
    done = outcome(loaded, result=replace(run.result, facts=EngineFacts(servers=tuple(rows))))
    (line,) = [line for line in text([done], 200) if line.startswith("  servers")]
    assert line == f"  servers 5, each 500 tok/s (http://s0) to 504 (http://s4){words}"


@pytest.mark.parametrize(
    ("clocks", "words"),
    [
        ([1970, 1410], "2, SM clock 1970 MHz on n0, 1410 MHz on n1"),
        ([1970, 1410, 1960, 1950, 1980], "5, SM clock 1410 MHz on n1 to 1980 MHz on n4"),
        ([None, None], "2, SM clock unknown"),
    ],
)
def test_the_clock_of_each_of_several_nodes(
    loaded: LoadedScenario, clocks: list[float | None], words: str
) -> None:
    gpus = tuple(GpuStatistics(f"n{i}:0", sm_clock_mhz_mean=clock) for i, clock in enumerate(clocks))
    lines = text([outcome(loaded, gpu_health=GpuSummary("1900 MHz", gpus=gpus))], 200)
    assert f"  nodes   {words}" in lines
    assert not any(line.startswith("  nodes") for line in text([outcome(loaded)], 200))


RAMP = (
    "  look at 4 requests are only 2.0 waves of 2 at once, so ramp-up and drain lower the figures of the "
    "whole run: raise load.num_requests to 10 or more, as in every published run "
    "(pytest-dsr1 docs why-low#ramp-and-drain)"
)


def test_a_missed_target_says_where_to_look(loaded: LoadedScenario) -> None:
    lines = text([outcome(loaded)], 250)
    assert [line for line in lines if line.startswith("  look at")] == [RAMP]


def test_where_all_is_well_there_is_nothing_to_look_at(loaded: LoadedScenario) -> None:
    fine = outcome(loaded)
    fine.verdicts = fine.verdicts[:1]
    assert not any(line.startswith("  look at") for line in text([fine], 250))


@pytest.mark.parametrize(("kind", "shown"), [(Status.FAIL, True), (Status.PASS, False)])
def test_a_gate_without_targets_says_where_to_look(loaded: LoadedScenario, kind: Status, shown: bool) -> None:
    verdict = Verdict(
        kind,
        "regression[total_output_throughput]",
        "total_output_throughput",
        7.0,
        8.0,
        7.8,
        -9.0,
        "a loss",
    )
    gated = case(
        status=kind,
        verdicts=(),
        gate=replace(GATE, status=kind, verdict=verdict),
        of_gate=True,
        clues=(CLUE,),
    )
    shown_lines = [line for line, _ in overview([gated], 250, {})]
    assert ("  look at GPU 0 is hot (docs/why-low.md#throttled)" in shown_lines) == shown


def test_how_near_a_run_came_to_what_its_gpus_can_do(loaded: LoadedScenario) -> None:
    done = ScenarioOutcome(loaded, "suites/small.yaml")
    values = {"total_output_throughput": 158.0669, "per_user_output_throughput": 158.1196}
    done.measurement = measured(shipped("h200/min-latency"), values)
    assert (
        "  bound   per-user output throughput is 3.9% of what memory bandwidth would allow: a step of 1 "
        "request reads at least 37.67 GB of weights and 0.14 GB of KV cache, in 0.985 ms at 8 x 4.8 TB/s: 4 "
        "tokens / 0.985 ms = 4,062.2 tok/s/user"
    ) in text([done], 250)


def test_why_that_is_not_known(loaded: LoadedScenario) -> None:
    done = ScenarioOutcome(loaded, "suites/small.yaml")
    run = measured(shipped("h200/min-latency"), {"total_output_throughput": 158.0669})
    done.measurement = replace(run, fingerprint=Fingerprint({"gpu.name": "NVIDIA T4"}))
    assert "  bound   unknown: the peak performance of NVIDIA T4 is unknown" in text([done], 250)


def test_published_values_are_told_if_none_of_their_metrics_is_a_target() -> None:
    mlperf = {"version": "v5.1", "note": "another harness", "values": {"total_output_throughput": 10.0}}
    both = {"version": "V4", "values": {"total_output_throughput": 9.0, "energy_per_request": 3.0}}

    def told(*targets: dict[str, Any]) -> list[str]:
        one = case(scenario=scenario(targets=list(targets), published=[mlperf, both]))
        return [line for line, _ in overview([one], 200, {}) if "published" in line]

    first = "  published total output throughput 10 tok/s, this run 80.0% of it (v5.1: another harness)"
    second = (
        "  published total output throughput 9 tok/s, this run 88.9% of it; energy per request 3 J/req (V4)"
    )
    assert told() == told({"metric": "average_ttft", "value": 9.0}) == [first, second]
    assert told({"metric": "energy_per_request", "value": 3.0}) == [first]
    assert told({"metric": "total_output_throughput", "value": 8.0}) == []
