"""GitHub's workflow commands and GitLab's Code Quality report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pytest_dsr1.case.answers import about_answers
from pytest_dsr1.case.case import Case
from pytest_dsr1.reporting.ci.annotations import SHOWN, code_quality, commands
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.markdown import TEXT
from tests.helpers.values import answers, case, gate, missed, scenario

COMMAND = re.compile(r"::error (?:file=([^,:]*),line=(\d+),)?title=([^,:]*)::([^\r\n]*)")
"""As actions/runner takes one apart: properties end at a comma, the command at two colons."""


def unescaped(text: str) -> str:
    """What actions/runner makes of a value."""
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text


def told(line: str) -> tuple[str, ...]:
    found = COMMAND.fullmatch(line)
    assert found, line
    return tuple(unescaped(value or "") for value in found.groups())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the run, in a workspace that a link leads to."""
    (tmp_path / "real" / "part").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real" / "part")
    return tmp_path / "link"


def test_a_missed_target_at_its_line(here: Path) -> None:
    (line,) = commands([case(), missed()], here)
    assert told(line) == (
        "part/own/small.yaml",
        "16",
        "FAIL: small, total output throughput",
        "total output throughput 8 tok/s is 20.0% below the target 10 (tolerance 5%: at least 9.5 tok/s)\n\n"
        "Yes: the run is valid, and total output throughput misses its bound by more than twice the "
        "standard deviation between engine starts (0.01%, presumed by gate.presumed_noise_percent).\n"
        "Look at the log of the run.",
    )
    assert "title=FAIL%3A small%2C total output throughput::" in line
    assert "20.0%25 below" in line
    assert "9.5 tok/s)%0A%0AYes" in line


def test_wrong_answers_at_their_line(here: Path) -> None:
    one = case(status=Status.FAIL, accuracy=(answers(),))
    (line,) = commands([one], here)
    where, number, title, message = told(line)
    assert (where, number, title) == ("part/own/small.yaml", "18", "FAIL: small, accuracy")
    said, answer = message.split("\n\n")
    assert said == answers().message
    assert answer == about_answers(answers())
    (entry,) = json.loads(code_quality([one], here))
    assert entry["check_name"] == "dsr1 accuracy[questions]"
    assert entry["severity"] == "critical"
    assert entry["location"]["lines"] == {"begin": 18}


def test_a_gate_and_an_invalid_run(here: Path) -> None:
    cases = [
        case(status=Status.FAIL, gate=gate(Status.FAIL)),
        case(status=Status.NO_REFERENCE, refused=(Status.NO_REFERENCE, "no references")),
        case(status=Status.INCONCLUSIVE, gate=gate(Status.INCONCLUSIVE, error="12 runs did not decide")),
        case(status=Status.INVALID, problem="GPU 5 hot", refused=(Status.INVALID, "GPU 5 hot"), verdicts=()),
    ]
    found = [told(line) for line in commands(cases, here)]
    assert [(line, title) for _, line, title, _ in found] == [
        ("20", "FAIL: small, gate"),
        ("20", "NO REFERENCE: small, gate"),
        ("20", "INCONCLUSIVE: small, gate"),
        ("1", "INVALID: small"),
    ]
    assert found[1][3].startswith(
        "no references\n\nUnknown. There are no references to compare with.\nRecord"
    )
    assert found[2][3].startswith("12 runs did not decide\n\nUndecided")


INSTALLED = ".venv/lib/python3.12/site-packages/pytest_dsr1/suites/h200/max.yaml"


@pytest.mark.parametrize("file", ["/opt/venv/h200/max.yaml", INSTALLED])
def test_a_shipped_scenario_has_no_file_in_the_workspace(here: Path, file: str) -> None:
    where = {"scenario": f"{file}:8", "target[total_output_throughput]": f"{file}:74"}
    shipped = missed(test_id_prefix="suites/h200/max.yaml", lines=where)
    (line,) = commands([shipped], here)
    title = "FAIL: small, total output throughput (suites/h200/max.yaml:74)"
    assert told(line)[:3] == ("", "", title)
    (entry,) = json.loads(code_quality([shipped], here))
    assert entry["location"] == {"path": "suites/h200/max.yaml", "lines": {"begin": 74}}


def test_the_line_of_a_saved_copy_is_none_of_the_scenarios_file(here: Path) -> None:
    folder = Path(".dsr1/small/20261123T200512Z")
    saved = f"{folder}/scenario.yaml"
    where = {"scenario": f"{saved}:1", "target[total_output_throughput]": f"{saved}:69"}
    replayed = missed(test_id_prefix="suites/h200/max.yaml", lines=where, folder=folder)
    (line,) = commands([replayed], here)
    assert told(line)[:3] == ("", "", "FAIL: small, total output throughput (suites/h200/max.yaml)")
    (entry,) = json.loads(code_quality([replayed], here))
    assert entry["location"] == {"path": "suites/h200/max.yaml", "lines": {"begin": 1}}


def test_nothing_that_an_annotation_says_drives_a_terminal(here: Path) -> None:
    """What changed since the references is facts, which are text from outside."""
    changed = ("driver: 1 -> \x1b]0;title\x07\x1b[31m" + "x" * 10_000,)
    (line,) = commands([case(status=Status.FAIL, gate=replace(gate(Status.FAIL), changed=changed))], here)
    assert not {"\x1b", "\x07"} & set(line)
    assert len(line) < 3000


def test_a_target_from_a_base_elsewhere_is_shown_at_the_scenarios_name(here: Path) -> None:
    where = {"scenario": "own/small.yaml:2", "target[total_output_throughput]": "/opt/venv/h200/max.yaml:74"}
    (line,) = commands([missed(lines=where)], here)
    assert told(line)[:2] == ("part/own/small.yaml", "2")


def test_without_a_workspace_the_place_is_in_the_title() -> None:
    (line,) = commands([missed()], None)
    assert told(line)[2] == "FAIL: small, total output throughput (own/small.yaml:16)"


def test_more_than_github_shows_are_counted(here: Path) -> None:
    many = [missed(f"slow-{number}") for number in range(SHOWN + 4)]
    lines = commands(many, here)
    assert len(lines) == SHOWN
    assert lines[-1] == ("::error title=DeepSeek-R1 performance::5 more did not pass: see the job summary")
    assert len(commands(many[:SHOWN], here)) == SHOWN
    assert "more did not pass" not in "".join(commands(many[:SHOWN], here))


def test_code_quality(here: Path) -> None:
    cases = [case(), missed(), case("hot", status=Status.INVALID, problem="too\n  hot", verdicts=())]
    first, second = json.loads(code_quality(cases, here))
    assert first == {
        "description": "FAIL: small, total output throughput: total output throughput 8 tok/s is 20.0% below "
        "the target 10 (tolerance 5%: at least 9.5 tok/s)",
        "check_name": "dsr1 target[total_output_throughput]",
        "fingerprint": first["fingerprint"],
        "severity": "critical",
        "location": {"path": "part/own/small.yaml", "lines": {"begin": 16}},
    }
    assert (second["description"], second["severity"]) == ("INVALID: hot: too hot", "major")
    assert second["check_name"] == "dsr1 scenario"
    assert json.loads(code_quality([case()], here)) == []


def fingerprint(one: Case, root: Path) -> str:
    (entry,) = json.loads(code_quality([one], root))
    found: str = entry["fingerprint"]
    return found


def test_a_fingerprint_is_of_what_failed_not_of_the_figure_or_the_line(here: Path) -> None:
    of_small = fingerprint(missed(), here)
    assert re.fullmatch("[0-9a-f]{64}", of_small)
    moved = {**missed().judgment.lines, "target[total_output_throughput]": "own/small.yaml:99"}
    assert fingerprint(missed(lines=moved, machine="another"), here) == of_small
    assert fingerprint(missed("other"), here) != of_small
    assert fingerprint(case(status=Status.INVALID, problem="hot", verdicts=()), here) != of_small


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(TEXT)
def test_hostile_text_is_one_command_and_valid_json(here: Path, text: str) -> None:
    lines = f"{text}\n::warning::{text}"
    own = case().scenario.model_copy(update={"name": text})
    bad = case(scenario=own, test_id_prefix=text, status=Status.INVALID, problem=lines, verdicts=())
    for workspace in (here, None):
        (line,) = commands([bad], workspace)
        title, message = told(line)[2:]
        assert title.startswith("INVALID: ")
        assert "\n::warning::" in message
        assert line.isprintable()
    assert len(json.loads(code_quality([bad], here))) == 1


def test_ten_thousand_characters_are_cut(here: Path) -> None:
    long = missed(status=Status.INVALID, problem="x" * 10_000 + "\ny" * 10_000)
    assert len(commands([long], here)[0]) < 5_000
    assert len(code_quality([long], here)) < 5_000


def test_a_forced_acceptance_length_is_in_the_title(here: Path) -> None:
    one = missed(scenario=scenario(speculation={"acceptance_length": 2.4}))
    title = "FAIL: small, total output throughput, acceptance length 2.4 forced"
    (entry,) = json.loads(code_quality([one], here))
    assert entry["description"].startswith(f"{title}: ")
    (line,) = commands([one], None)
    assert title.replace(":", "%3A").replace(",", "%2C") in line
