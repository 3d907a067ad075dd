"""What a run leaves for those who were not there: ``--dsr1-report``, and what GitHub asks for."""

from __future__ import annotations

import json
import platform
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_dsr1.case import case
from pytest_dsr1.cli.main import main
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.gate.history import History, history
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.reporting.ci import annotations as ci_annotations
from pytest_dsr1.reporting.ci import files
from pytest_dsr1.reporting.html import render
from tests.helpers.suites import Suites
from tests.helpers.unlistable import unlistable

pytestmark = pytest.mark.needs("jinja2", "vl_convert")

STRICT = "--dsr1-set=targets.total_output_throughput.value=20"


@pytest.fixture
def step(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Path:
    """On GitHub: the file of the step's summary."""
    path = suites.pytester.path / "step-summary"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suites.pytester.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


def read(suites: Suites, name: str) -> str:
    return (suites.pytester.path / name).read_text(encoding="utf-8")


def test_every_form_is_written(suites: Suites) -> None:
    suffixes = (".md", ".json", ".codequality.json", ".html")
    forms = [f"--dsr1-report=report{suffix}" for suffix in suffixes]
    result = suites.run("--dsr1-profile=alpha,beta", STRICT, *forms)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"dsr1: wrote report{suffix}" for suffix in suffixes])
    summary = read(suites, "report.md")
    assert summary.startswith("# DeepSeek-R1 performance: 2 FAIL\n\nExit status 1: a target is missed")
    (where,) = re.findall(r"- \*\*Where is it\?\*\* (.*; `own/alpha\.yaml:17`)", summary)
    assert where.startswith("75% of a request's time is decode (125 ms per output token), 25% is before its ")
    results = json.loads(read(suites, "report.json"))
    assert (results["format"], results["exit_status"], results["not_run"]) == ("pytest-dsr1 report", 1, [])
    assert [(each["profile"], each["verdict"]) for each in results["results"]] == [
        ("alpha", "FAIL"),
        ("beta", "FAIL"),
    ]
    entries = json.loads(read(suites, "report.codequality.json"))
    assert [entry["location"] for entry in entries] == [
        {"path": f"own/{name}.yaml", "lines": {"begin": 17}} for name in ("alpha", "beta")
    ]
    assert "total output throughput 16 tok/s is 20.0% below" in read(suites, "report.html")
    assert not list(suites.pytester.path.glob(".report*"))


def test_earlier_results_that_cannot_be_read_are_told_in_the_page(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, damaged = (
        suites.pytester.path / ".dsr1" / "theirs",
        suites.pytester.path / ".dsr1" / "alpha" / "old",
    )
    closed.mkdir(parents=True)
    damaged.mkdir(parents=True)
    (damaged / "measurement.json").write_text("{", encoding="utf-8")
    unlistable(monkeypatch, closed)
    assert suites.run("--dsr1-profile=alpha", "--dsr1-report=report.html").ret == 0
    page = read(suites, "report.html")
    assert "Earlier results that could not be read (2)" in page
    assert f"{closed}: cannot be listed: Permission denied" in page
    assert f"{damaged}/measurement.json: is not JSON (" in page
    assert "; it was damaged after it was written" in page


def test_github_gets_a_summary_and_annotations(suites: Suites, step: Path) -> None:
    step.write_text("of another command", encoding="utf-8")
    result = suites.run("--dsr1-profile=alpha", STRICT)
    assert result.ret == 1
    lines = result.stdout.lines
    (command,) = [line for line in lines if line.startswith("::")]
    assert command.startswith(
        "::error file=own/alpha.yaml,line=17,title=FAIL%3A alpha%2C total output throughput::"
    )
    assert "dsr1: wrote the job summary" in lines
    assert lines.index(command) > lines.index("dsr1: wrote the job summary")
    assert step.read_text(encoding="utf-8").startswith(
        "of another command\n# DeepSeek-R1 performance: 1 FAIL\n"
    )


def test_nothing_is_annotated_when_all_is_well_or_elsewhere(
    suites: Suites, step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "::error" not in suites.run("--dsr1-profile=alpha").stdout.str()
    assert step.read_text(encoding="utf-8").startswith("# DeepSeek-R1 performance: 1 PASS\n")
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    output = suites.run("--dsr1-profile=alpha", STRICT).stdout.str()
    assert "::error" not in output
    assert "wrote" not in output


def test_a_run_that_judges_nothing_leaves_github_alone(suites: Suites, step: Path) -> None:
    suites.pytester.makepyfile("def test_other(): pass")
    suites.run("--dsr1-profile=alpha", "--collect-only", "--dsr1-report=report.md")
    suites.run("test_other.py")
    suites.run("--dsr1-profile=alpha", "-k", "nothing")
    assert not step.exists()
    assert not (suites.pytester.path / "report.md").exists()


def test_an_invalid_run_says_why(suites: Suites, step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    result = suites.run("--dsr1-profile=alpha,beta", "-x")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["::error file=own/alpha.yaml,line=1,title=INVALID%3A alpha::the scripted engine*"]
    )
    summary = step.read_text(encoding="utf-8")
    assert summary.startswith(
        "# DeepSeek-R1 performance: 1 INVALID, 1 not run\n\nExit status 10: a run is invalid"
    )
    assert "**Not run**, so without a result: beta" in summary
    assert "the scripted engine failed; last lines of its log:\n  out of memory\n```" in summary


def test_a_gate_without_references_is_annotated_at_the_gate(suites: Suites, step: Path) -> None:
    path = suites.write("gated", extra="gate:\n  delta_percent: 5\n")
    path.write_text(
        path.read_text(encoding="utf-8").replace("num_requests: 8", "num_requests: 40"), encoding="utf-8"
    )
    result = suites.run("--dsr1-profile=gated", "--dsr1-gate")
    assert result.ret == 11
    result.stdout.fnmatch_lines(
        ["::error file=own/gated.yaml,line=21,title=NO REFERENCE%3A gated%2C gate::*"]
    )
    summary = step.read_text(encoding="utf-8")
    assert "# DeepSeek-R1 performance: 1 NO REFERENCE\n" in summary
    assert "- **What to do?** Record and accept references. The message has the commands." in summary


def test_what_a_log_line_says_is_no_command(
    suites: Suites, step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_LOG", "::warning::<script>\x1b[31m|`@all")
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    result = suites.run("--dsr1-profile=alpha", "--dsr1-report=report.html", "--dsr1-report=report.json")
    assert result.ret == 10
    (command,) = [line for line in result.stdout.lines if line.startswith("::")]
    assert "%0A  ::warning::<script>\\x1b[31m" in command
    assert "  ::warning::<script>\\x1b[31m|`@all\n```" in step.read_text(encoding="utf-8")
    assert "::warning::<script>" not in read(suites, "report.html")
    assert "\\\\x1b[31m" in read(suites, "report.json")


def test_reports_after_ctrl_c(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "interrupt")
    result = suites.run_apart("--dsr1-profile=alpha,beta", "--dsr1-report=report.md")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    summary = read(suites, "report.md")
    assert summary.startswith(
        "# DeepSeek-R1 performance: 1 INVALID, 1 not run\n\nExit status 2: the run was interr"
    )
    result.stdout.fnmatch_lines(["dsr1: wrote report.md"])


def test_reports_without_a_terminal(suites: Suites, step: Path) -> None:
    result = suites.run("--dsr1-profile=alpha", "-p", "no:terminal", "--dsr1-report=report.md")
    assert result.ret == 0
    assert "1 PASS" in read(suites, "report.md")
    assert "1 PASS" in step.read_text(encoding="utf-8")
    assert not result.errlines


def test_a_replay_writes_the_report_again(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha")
    (saved,) = (suites.pytester.path / ".dsr1" / "alpha").iterdir()
    assert suites.run(f"--dsr1-replay={saved}", "--dsr1-report=report.md").ret == 0
    assert "# DeepSeek-R1 performance: 1 PASS" in read(suites, "report.md")
    assert suites.engine_runs == ["alpha"]


def test_a_replay_of_a_bundle_judges_it(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    suites.run("--dsr1-profile=alpha")
    monkeypatch.chdir(suites.pytester.path)
    assert main(["bundle", "alpha", "--anonymous", "--output", "sent.tar.gz"]) == 0
    (suites.pytester.path / ".dsr1").rename("elsewhere")
    assert suites.run("--dsr1-replay=sent.tar.gz", "--dsr1-report=report.md").ret == 0
    assert "# DeepSeek-R1 performance: 1 PASS" in read(suites, "report.md")
    assert suites.run("--dsr1-replay=sent.tar.gz", STRICT).ret == 1
    assert suites.engine_runs == ["alpha"]


@pytest.mark.parametrize("quietly", [(), ("--no-summary",), ("-p", "no:terminal")])
def test_what_cannot_be_written_is_told_and_is_not_green(
    suites: Suites, step: Path, monkeypatch: pytest.MonkeyPatch, quietly: tuple[str, ...]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_dsr1.storage.files.write_atomically", full)
    step.mkdir()
    result = suites.run("--dsr1-profile=alpha", "--dsr1-report=report.md", *quietly)
    assert result.ret == 10
    told = result.stderr if quietly else result.stdout
    told.fnmatch_lines(
        [
            "dsr1: report.md cannot be written: No space left on device; `pytest --dsr1-replay=RESULTS` "
            "with the same --dsr1-report writes it without a GPU",
            "dsr1: the job summary cannot be written: Is a directory; the log has all of it",
        ]
    )
    assert suites.run("--dsr1-profile=alpha", STRICT, "--dsr1-report=report.md").ret == 1


def test_a_mistake_of_ours_in_a_report_changes_no_verdict(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> str:
        raise KeyError("missing")

    monkeypatch.setattr(ci_annotations, "code_quality", wrong)
    forms = ("--dsr1-report=report.codequality.json", "--dsr1-report=report.md")
    result = suites.run("--dsr1-profile=alpha", *forms)
    assert result.ret == 10
    assert "# DeepSeek-R1 performance: 1 PASS" in read(suites, "report.md")
    result.stdout.fnmatch_lines(
        ["dsr1: report.codequality.json cannot be written: 'missing'; *", "dsr1: wrote report.md"]
    )


def _fail_in_alpha(measurement: Measurement) -> tuple[FoundClue, ...]:
    if measurement.scenario.name == "alpha":
        raise KeyError("missing")
    return (FoundClue("clue", "beta has a clue"),)


@pytest.mark.parametrize("strict", [(), (STRICT,)], ids=["pass", "fail"])
def test_a_mistake_of_ours_in_one_scenario_leaves_the_others_alone(
    suites: Suites, monkeypatch: pytest.MonkeyPatch, strict: tuple[str, ...]
) -> None:
    monkeypatch.setattr(case, "diagnose", _fail_in_alpha)
    result = suites.run("--dsr1-profile=alpha,beta", *strict, "--dsr1-report=report.md")
    assert result.ret == len(strict)
    why = (
        "alpha: the report is incomplete, because pytest-dsr1 itself failed: KeyError('missing'); the "
        "verdicts are not affected; please report this as a bug"
    )
    text = " ".join(result.stdout.str().split())
    assert text.count(f"warning {why}") == 1
    assert ("look at beta has a clue" in text) is bool(strict)
    result.stdout.fnmatch_lines(["dsr1: wrote report.md"])
    summary = read(suites, "report.md").replace("\\", "")
    assert summary.startswith(f"# DeepSeek-R1 performance: 2 {'FAIL' if strict else 'PASS'}")
    assert summary.count(f"- {why}") == 1
    told = "Look at the warnings of this report and at the log of the run."
    assert (told in summary) is bool(strict)
    assert "Look at the log of the run." not in summary


def test_what_changed_since_the_last_green_run_is_in_the_overview(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = " ".join(suites.run("--dsr1-profile=alpha", STRICT).stdout.str().split())
    assert (
        "changed no earlier run on this machine meets today's targets, and there are no references" in never
    )
    monkeypatch.setenv("SCRIPTED_MOE_BACKEND", "DEEPGEMM")
    monkeypatch.delenv("NCCL_P2P_DISABLE", raising=False)
    assert suites.run("--dsr1-profile=alpha").ret == 0
    lower = " ".join(suites.run("--dsr1-profile=alpha", STRICT).stdout.str().split())
    assert "no earlier run on this machine meets today's targets" in lower, (
        "it met a lower target than that of today"
    )
    for file in (suites.pytester.path / ".dsr1").glob("alpha/*/verdicts.json"):
        file.write_text(file.read_text().replace('"measured": 16.0', '"measured": 25.0'))
    monkeypatch.setattr(platform, "release", lambda: "6.8-another")
    monkeypatch.setenv("SCRIPTED_MOE_BACKEND", "CUTLASS")
    monkeypatch.setenv("NCCL_P2P_DISABLE", "1")
    found = " ".join(
        suites.run("--dsr1-profile=alpha", STRICT, "--dsr1-report=report.md").stdout.str().split()
    )
    assert re.search(
        r"changed since the last green run \(\d{4}-\d\d-\d\d \d\d:\d\d\): "
        r"in effect: moe_backend DEEPGEMM -> CUTLASS; environment\.NCCL_P2P_DISABLE not given -> 1; "
        r"kernel \S+ -> 6\.8-another ",
        found,
    )
    assert "**What changed?** Since the last green run" in read(suites, "report.md")
    assert "last green run" not in suites.run("--dsr1-profile=alpha").stdout.str()


def test_clues_are_sought_only_for_a_missed_target_or_a_report(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[str] = []

    def diagnose(measurement: Measurement) -> tuple[()]:
        sought.append(measurement.scenario.name)
        return ()

    monkeypatch.setattr(case, "diagnose", diagnose)
    suites.run("--dsr1-profile=alpha")
    assert sought == []
    suites.run("--dsr1-profile=alpha", "--dsr1-report=report.md")
    assert sought == ["alpha"]
    suites.run("--dsr1-profile=beta", STRICT)
    assert sought == ["alpha", "beta", "beta"], "when the test fails, for JUnit, and at the end"


def test_the_cause_of_a_missed_target_is_told_everywhere(suites: Suites) -> None:
    assert suites.run("--dsr1-profile=alpha").ret == 0
    result = suites.run(
        "--dsr1-profile=alpha",
        STRICT,
        "--junitxml=junit.xml",
        "--dsr1-report=report.md",
        "--dsr1-report=report.json",
        "--dsr1-report=report.codequality.json",
        "--dsr1-report=report.html",
    )
    assert result.ret == 1
    why = (
        "not known: 8 requests are only 4.0 waves of 2 at once, so ramp-up and drain lower the figures of "
        "the whole run; a machine without GPUs cannot be probed; the options in effect were not read"
    )
    assert f"cause {why}; next: go through `pytest-dsr1 docs why-low`" in " ".join(
        result.stdout.str().split()
    )
    found = ET.parse(suites.pytester.path / "junit.xml").iter("property")
    properties = {each.get("name"): each.get("value") for each in found}
    assert (properties["dsr1_cause"], properties["dsr1_cause_evidence"]) == ("not known", why)
    summary = read(suites, "report.md")
    assert "| uncertainty (2 sd) | cause |" in summary
    assert " | not known |" in summary
    assert "**What is the cause?** Not known: 8 requests are only" in summary
    assert f"Cause: {why}" in json.loads(read(suites, "report.codequality.json"))[0]["description"]
    assert json.loads(read(suites, "report.json"))["results"][0]["cause"] == why
    assert "What is the cause?" in read(suites, "report.html")


def test_the_cause_is_saved_for_machines_to_read(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a run that does not count, which has no verdicts; a replay leaves it alone."""

    def saved() -> list[Path]:
        return sorted(suites.pytester.path.rglob("cause.json"))

    suites.run("--dsr1-profile=alpha")
    assert saved() == []
    suites.run("--dsr1-profile=alpha", STRICT)
    (missed,) = saved()
    found = json.loads(missed.read_text(encoding="utf-8"))
    assert (found["cause"], found["next_step"]) == ("not known", "go through `pytest-dsr1 docs why-low`")
    assert found["evidence"][1] == "a machine without GPUs cannot be probed"
    before = missed.stat().st_mtime_ns
    suites.run(f"--dsr1-replay={missed.parent}", STRICT)
    assert (saved(), missed.stat().st_mtime_ns) == ([missed], before)
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    assert suites.run("--dsr1-profile=beta").ret == 10
    (spoiled,) = set(saved()) - {missed}
    found = json.loads(spoiled.read_text(encoding="utf-8"))
    assert found.pop("evidence")[0] == "1 of 8 requests failed, the first: the server said no"
    assert found == {
        "cause": "not known",
        "next_step": "do what the message says, and run again",
        "changed": [],
    }


def test_a_long_job_summary_is_cut(suites: Suites, step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STEP_LIMIT", 1_000)
    step.write_text("x" * 100, encoding="utf-8")
    suites.run("--dsr1-profile=alpha", STRICT)
    summary = step.read_text(encoding="utf-8")
    assert len(summary.encode()) <= 1_000
    assert summary.endswith(
        "**The rest is omitted: it does not fit here.** The log and the results have all of it.\n"
    )


def test_githubs_limit_is_one_mebibyte() -> None:
    assert files.STEP_LIMIT == 1_048_576


FORMS = (
    "expected a file name with the suffix .html for a page, .md for a summary in Markdown, .json for "
    "the results as JSON, .codequality.json for GitLab's Code Quality report"
)


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        (["report.txt"], f"--dsr1-report=report.txt: {FORMS}"),
        (["report"], f"--dsr1-report=report: {FORMS}"),
        (
            ["gl-code-quality-report.json"],
            "--dsr1-report=gl-code-quality-report.json: .json is for the results; GitLab's Code Quality "
            "report has the suffix .codequality.json: give --dsr1-report=dsr1.codequality.json, and the same "
            "name in artifacts:reports:codequality",
        ),
        (["codequality.json"], "--dsr1-report=codequality.json: .json is for the results; *"),
        ([".codequality.json"], "--dsr1-report=.codequality.json: .json is for the results; *"),
        (["report.MD"], f"--dsr1-report=report.MD: {FORMS}"),
        (["a.md", "own/../a.md"], "--dsr1-report=own/../a.md: is given twice; give each file once"),
        (["folder.md"], "--dsr1-report=folder.md: is a folder; expected a file name"),
        (
            ["no/a.md"],
            "--dsr1-report=no/a.md: cannot be written: No such file or directory; expected a file in a "
            "writable folder",
        ),
        (["link.md"], "--dsr1-report=link.md: cannot be written: No such file or directory; *"),
        (["own/alpha.yaml/a.md"], "--dsr1-report=own/alpha.yaml/a.md: cannot be written: Not a directory; *"),
        ([f"{'x' * 237}.md"], "--dsr1-report=x*.md: cannot be written: File name too long; *"),
        ([f"{'x' * 300}.md"], "--dsr1-report=x*.md: cannot be written: File name too long; *"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_at_the_start(
    suites: Suites, reports: list[str], message: str
) -> None:
    suites.pytester.mkdir("folder.md")
    (suites.pytester.path / "link.md").symlink_to("nowhere/a.md")
    result = suites.run("--dsr1-profile=alpha", *(f"--dsr1-report={report}" for report in reports))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert suites.engine_runs == []


def test_a_page_needs_what_makes_it(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "missing", lambda: "an HTML report needs jinja2")
    result = suites.run("--dsr1-profile=alpha", "--dsr1-report=report.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --dsr1-report=report.html: an HTML report needs jinja2"])


def test_a_report_of_no_scenario_is_a_usage_error(suites: Suites) -> None:
    suites.pytester.makepyfile("def test_other(): pass")
    result = suites.run("test_other.py", "--dsr1-report=report.md")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --dsr1-report needs a scenario, but none is selected: add --dsr1-profile=NAME"]
    )


def test_junit_says_what_each_test_judged_and_where(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", STRICT, "--junitxml=junit.xml")
    environment, missed, met = ET.parse(suites.pytester.path / "junit.xml").getroot().iter("testcase")
    found = {each.get("name"): each.get("value") for each in missed.iter("property")}
    assert {
        name: found[f"dsr1_{name}"] for name in ("where", "metric", "unit", "measured", "target", "bound")
    } == {
        "where": "own/alpha.yaml:17",
        "metric": "total_output_throughput",
        "unit": "tok/s",
        "measured": "16.0",
        "target": "20.0",
        "bound": "19.0",
    }
    assert found["dsr1_margin_percent"] == "-20.000"
    message = found["dsr1_message"]
    assert message is not None
    assert message.startswith("total output throughput 16 tok/s is 20.0% below the target 20")
    ttft = {each.get("name"): each.get("value") for each in met.iter("property")}
    assert (ttft["dsr1_where"], ttft["dsr1_metric"], ttft["dsr1_unit"]) == (
        "own/alpha.yaml:19",
        "average_ttft",
        "ms",
    )
    machine = {each.get("name"): each.get("value") for each in environment.iter("property")}
    assert machine["dsr1_where"] == "own/alpha.yaml:3"
    assert "dsr1_measured" not in machine


def test_earlier_results_are_read_once_for_all_tests(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be hundreds of them: once for the tests that fail, once for the report."""
    read_from: list[Path] = []

    def noted(results: Path) -> History:
        read_from.append(results)
        return history(results)

    monkeypatch.setattr(files, "history", noted)
    suites.run("--dsr1-profile=alpha,beta", STRICT)
    assert len(read_from) == 2
    suites.run("--dsr1-profile=alpha,beta")
    assert len(read_from) == 2
