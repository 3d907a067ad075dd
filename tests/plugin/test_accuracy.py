"""What a user of `accuracy` sees: tests, exit statuses, reports, references and replay."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from tests.helpers.full_disk import disk
from tests.helpers.suites import Suites

TASKS = """\
name: asked
description: A scenario of the tests
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1}
dataset: {input_tokens: 8, output_tokens: 4, vocab_size: 100}
load: {concurrency: 2, num_requests: 8}
engine: {type: openai, url: "http://127.0.0.1:9"}
accuracy:
  tasks:
    - path: sums.jsonl
      at_least: 0.9
targets:
  - metric: total_output_throughput
    value: 16
"""
SAME = "accuracy:\n  same_answers: {prompts: 16, output_tokens: 8}\n"
PROFILE = "--dsr1-profile=asked"
RECORDED = 10


@pytest.fixture
def asked(suites: Suites) -> Suites:
    """A profile ``asked`` with 40 sums, of which 90% must be right."""
    (suites.folder / "asked.yaml").write_text(TASKS, encoding="utf-8")
    sums = [{"prompt": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(40)]
    text = "".join(f"{json.dumps(each)}\n" for each in sums)
    (suites.pytester.path / "sums.jsonl").write_text(text, encoding="utf-8")
    return suites


@pytest.fixture
def same(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """A profile ``same`` whose answers references judge."""
    monkeypatch.setenv("SCRIPTED_NOISE", "0.01")
    path = suites.write("same", extra=f"gate: {{delta_percent: 5, max_runs: 8}}\n{SAME}")
    text = path.read_text(encoding="utf-8").replace("num_requests: 8", "num_requests: 40")
    path.write_text(text, encoding="utf-8")
    return suites


def folder(suites: Suites, profile: str) -> Path:
    (found,) = (suites.pytester.path / ".dsr1" / profile).iterdir()
    return found


def questions(suites: Suites) -> list[int]:
    """How many questions each run of the engine answered."""
    return [int(line) for line in (suites.pytester.path / "engine-questions.txt").read_text("utf-8").split()]


def properties(suites: Suites, name: str) -> dict[str | None, str | None]:
    suite = ET.parse(suites.pytester.path / "junit.xml").getroot()[0]
    case = next(one for one in suite.iter("testcase") if one.get("name") == name)
    return {one.get("name"): one.get("value") for one in case.iter("property")}


def test_right_answers_pass_a_test_of_their_own(asked: Suites) -> None:
    result = asked.run(PROFILE, "-v")
    assert result.ret == 0
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "own/asked.yaml::environment PASSED*",
            "own/asked.yaml::target[[]total_output_throughput[]] PASSED*",
            "own/asked.yaml::accuracy[[]sums[]] PASSED*",
            "  PASS    total output throughput *",
            "  PASS    accuracy: sums: 40 of 40 answers are right, 100%; *",
        ]
    )
    assert questions(asked) == [40]


def test_wrong_answers_fail_at_their_line_and_no_target_does(
    asked: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_WRONG", "15")
    reports = [f"--dsr1-report=r{suffix}" for suffix in (".md", ".json", ".codequality.json", ".html")]
    result = asked.run(PROFILE, "--junitxml=junit.xml", *reports)
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=1)
    said = (
        "sums: 25 of 40 answers are right, 62.5%: with 99% confidence at most 79.49% are, which is "
        "below the 90% "
        "required (at_least)"
    )
    output = result.stdout.str()
    assert said in output
    saved = folder(asked, "asked")
    assert f"own/asked.yaml:10; results: {saved}" in output
    assert "Traceback" not in output
    result.stdout.fnmatch_lines(["  FAIL    accuracy: sums: 25 of 40 answers are right, 62.5%: with 99%*"])
    assert not [
        line for line in result.outlines if line.lstrip().startswith(("cause ", "changed ", "look at "))
    ]
    found = properties(asked, "accuracy[sums]")
    assert (found["dsr1_verdict"], found["dsr1_metric"], found["dsr1_measured"]) == (
        "FAIL",
        "accuracy",
        "0.625",
    )
    assert found["dsr1_where"] == "own/asked.yaml:10"
    assert "dsr1_cause" not in found
    assert properties(asked, "target[total_output_throughput]")["dsr1_verdict"] == "PASS"
    path = asked.pytester.path
    assert "| **FAIL** | asked | accuracy&#91;sums&#93; | 62.5% (at most 79.49%) |" in (
        path / "r.md"
    ).read_text("utf-8")
    (entry,) = json.loads((path / "r.codequality.json").read_text("utf-8"))
    (written,) = json.loads((path / "r.json").read_text("utf-8"))["results"]
    assert [each["subject"] for each in written["verdicts"]][-1] == "accuracy[sums]"
    assert (entry["check_name"], entry["location"]["lines"]["begin"]) == ("dsr1 accuracy[sums]", 10)
    assert '<th scope="row">sums/0</th><td class="long" data-label="text">What is 0 + 1?</td>' in (
        path / "r.html"
    ).read_text("utf-8")
    (verdict,) = json.loads((saved / "accuracy.json").read_text("utf-8"))
    assert (verdict["word"], verdict["subject"], len(verdict["wrong"])) == ("FAIL", "accuracy[sums]", 10)
    assert verdict["wrong"][0] == {
        "id": "sums/0",
        "question": "What is 0 + 1?",
        "expected": "1",
        "found": "2",
    }
    (of_target,) = json.loads((saved / "verdicts.json").read_text("utf-8"))
    assert of_target["word"] == "PASS"


def test_a_missed_target_and_wrong_answers_are_two_failures(
    asked: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_WRONG", "15")
    result = asked.run(PROFILE, "--dsr1-set=targets.0.value=99", "--junitxml=junit.xml")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=2)
    assert "dsr1_cause" in properties(asked, "target[total_output_throughput]")
    assert "dsr1_cause" not in properties(asked, "accuracy[sums]")


def test_missing_answers_are_invalid_and_keep_the_measurement(
    asked: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_UNANSWERED", "2")
    result = asked.run(PROFILE)
    assert result.ret == 10
    result.assert_outcomes(passed=2, errors=1)
    message = (
        "sums: 2 of 40 questions have no answer (at most 1% may have none), the first: sums/38: the scripted "
        "engine was asked in vain"
    )
    assert message in result.stdout.str()
    assert " ".join(result.stdout.str().split()).count(f"INVALID accuracy: {message}") == 1


@pytest.mark.parametrize("name", ["answers.jsonl", "accuracy.json"])
def test_a_full_disk_is_a_sentence(asked: Suites, name: str) -> None:
    with disk(asked.pytester.path) as watched:
        watched.full = name
        result = asked.run(PROFILE)
    assert watched.refused
    assert result.ret == 10
    assert (
        "results cannot be written: No space left on device; free space there, or choose"
        in result.stdout.str()
    )
    assert "Traceback" not in result.stdout.str()


def test_a_scenario_without_targets_is_judged_by_its_answers(asked: Suites) -> None:
    path = asked.folder / "asked.yaml"
    path.write_text(path.read_text("utf-8").partition("targets:")[0], encoding="utf-8")
    result = asked.run(PROFILE)
    assert result.ret == 0
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["  PASS    accuracy: sums: 40 of 40 *", "  MEASURED nothing to judge"])


def test_answers_that_are_selected_and_not_judged_are_an_error(asked: Suites) -> None:
    asked.pytester.makeconftest(
        (asked.pytester.path / "conftest.py").read_text("utf-8")
        + "\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        if item.name == 'accuracy[sums]':\n"
        "            item.add_marker(pytest.mark.skip(reason='not today'))\n"
    )
    result = asked.run(PROFILE, "--dsr1-report=r.md", "--junitxml=junit.xml")
    assert result.ret == 12
    assert "not judged: asked::accuracy[sums]: skipped: not today; remove the cause, " in result.stdout.str()
    assert "Is it real?" not in (asked.pytester.path / "r.md").read_text("utf-8"), "it is about speed"
    assert properties(asked, "target[total_output_throughput]")["dsr1_verdict"] == "PASS"
    assert asked.run(PROFILE, "-k", "not accuracy").ret == 0


WITHOUT_A_SHARE = "--dsr1-set=accuracy.tasks.0.at_least=null"


def test_a_task_without_a_share_and_without_references_is_measured(asked: Suites) -> None:
    result = asked.run(PROFILE, WITHOUT_A_SHARE, "--junitxml=junit.xml")
    assert result.ret == 0
    result.assert_outcomes(passed=3)
    said = (
        "sums: 40 of 40 answers are right, 100%; nothing to judge: at_least is not set, and no accepted "
        "reference has answers to these questions"
    )
    assert f"MEASURED accuracy: {said}" in " ".join(result.stdout.str().split())
    found = properties(asked, "accuracy[sums]")
    assert (found["dsr1_verdict"], found["dsr1_measured"], found["dsr1_message"]) == ("MEASURED", "1.0", said)


def test_a_gate_needs_references_for_a_task_without_a_share(asked: Suites) -> None:
    result = asked.run(PROFILE, WITHOUT_A_SHARE, "--dsr1-store=mine", "--dsr1-gate", "-k", "not regression")
    assert result.ret == 11
    result.assert_outcomes(passed=2, errors=1)
    output = " ".join(result.stdout.str().split())
    assert "NO REFERENCE accuracy: sums: 40 of 40 answers are right, 100%; " in output
    assert (
        "because no references of asked have been accepted; 0 recorded runs are waiting to be "
        "accepted; record "
        "more with `pytest --dsr1-profile=asked --dsr1-reference=record --dsr1-store=mine` (and the "
        "same --dsr1-set"
    ) in output


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the first test fills, for those after it."""
    return tmp_path_factory.mktemp("recorded") / "store"


@pytest.fixture
def accepted(same: Suites, recorded: Path, capsys: pytest.CaptureFixture[str]) -> Suites:
    """References with answers, recorded run by run, and accepted."""
    path = same.pytester.path
    if not recorded.exists():
        for _ in range(RECORDED):
            result = same.run("--dsr1-profile=same", "--dsr1-reference=record", "-k", "reference")
            assert result.ret == 0, result.stdout.str()
        shutil.copytree(path / "dsr1-references", recorded / "references")
        shutil.copytree(path / "state", recorded / "state")
    else:
        shutil.copytree(recorded / "references", path / "dsr1-references")
        shutil.copytree(recorded / "state", path / "state", dirs_exist_ok=True)
    shutil.rmtree(path / ".dsr1", ignore_errors=True)
    (path / "engine-questions.txt").unlink(missing_ok=True)
    words = ["accept", "same", "--suites", str(same.folder), "--reason", "scripted 1.0", "--by", "me"]
    assert main(["references", *words]) == 0, capsys.readouterr()
    assert "same_answers: 10 of 10 runs have answers to 16 prompts, 100% of these equal each other" in (
        capsys.readouterr().out
    )
    return same


def test_a_recorded_run_is_compared_with_nothing(same: Suites) -> None:
    result = same.run("--dsr1-profile=same", "--dsr1-reference=record", "-v")
    assert result.ret == 0
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "own/same.yaml::accuracy[[]same_answers[]] PASSED*",
            "  MEASURED accuracy: same_answers: 16 answers; nothing to judge, because the run",
        ]
    )


def test_without_a_recording_answers_are_compared_in_any_mode(same: Suites) -> None:
    result = same.run("--dsr1-profile=same", "--dsr1-reference=record", "-k", "accuracy")
    assert result.ret == 11
    assert "NO REFERENCE accuracy: same_answers: " in " ".join(result.stdout.str().split())


def test_the_same_answers_pass(accepted: Suites) -> None:
    result = accepted.run("--dsr1-profile=same")
    assert result.ret == 0
    assert (
        "PASS accuracy: same_answers: 100% of the answers to 16 prompts equal those of 10 accepted"
        in " ".join(result.stdout.str().split())
    )


def test_other_answers_fail_without_a_loss_or_a_cause(
    accepted: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_WRONG", "12")
    result = accepted.run("--dsr1-profile=same", "--dsr1-gate")
    assert result.ret == 1
    result.assert_outcomes(passed=4, failed=1)
    output = " ".join(result.stdout.str().split())
    assert "PASS regression: total output throughput" in output
    assert (
        "FAIL accuracy: same_answers: 25% of the answers to 16 prompts equal those of 10 accepted "
        "references, the "
        "others on average up to token 2.0; 100% of theirs equal each other: these answers differ by "
        "more than "
        "starts do (mean agreement 0.438 here"
    ) in output
    assert " cause " not in output
    assert questions(accepted)[0] == 16


def test_runs_of_a_gate_alone_are_asked_nothing(accepted: Suites) -> None:
    assert accepted.run("--dsr1-profile=same", "--dsr1-gate", "-k", "regression").ret == 0
    assert set(questions(accepted)) == {0}


def test_a_saved_result_is_judged_again(asked: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_WRONG", "15")
    assert asked.run(PROFILE).ret == 1
    saved = folder(asked, "asked")
    before = (saved / "accuracy.json").read_bytes()
    result = asked.run(f"--dsr1-replay={saved}")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["  FAIL    accuracy: sums: 25 of 40 answers are right, 62.5%: *"])
    assert asked.run(f"--dsr1-replay={saved}", "--dsr1-set=accuracy.tasks.0.at_least=0.5").ret == 0
    assert (saved / "accuracy.json").read_bytes() == before
    assert questions(asked) == [40]


@pytest.mark.parametrize(
    ("key", "then", "now"), [("limit", "not set", "5"), ("max_output_tokens", "16384", "64")]
)
def test_a_replay_judges_a_task_as_it_was_asked_and_says_so(
    asked: Suites, key: str, then: str, now: str
) -> None:
    assert asked.run(PROFILE).ret == 0
    note = "note accuracy: sums was asked otherwise, and is judged as it was asked: "
    replay = f"--dsr1-replay={folder(asked, 'asked')}"
    result = asked.run(PROFILE, replay, f"--dsr1-set=accuracy.tasks.0.{key}={now}")
    assert result.ret == 0
    output = " ".join(result.stdout.str().split())
    assert f"{note}{key}: {then} when it ran, {now} now" in output
    assert "sums: 40 of 40 answers are right" in output
    again = asked.run(PROFILE, replay, "--dsr1-set=accuracy.tasks.0.at_least=0.5")
    assert "asked otherwise" not in again.stdout.str()


def test_a_replay_compares_same_answers_as_they_were_asked_and_says_so(accepted: Suites) -> None:
    """The references have 8 tokens per answer, as the saved run has."""
    assert accepted.run("--dsr1-profile=same").ret == 0
    replay = f"--dsr1-replay={folder(accepted, 'same')}"
    result = accepted.run("--dsr1-profile=same", replay, "--dsr1-set=accuracy.same_answers.output_tokens=4")
    assert result.ret == 0
    output = " ".join(result.stdout.str().split())
    assert "PASS accuracy: same_answers: 100% of the answers to 16 prompts" in output
    assert "judged as it was asked: output_tokens: 8 when it ran, 4 now" in output


def test_a_replay_is_not_compared_with_references_that_were_asked_otherwise(accepted: Suites) -> None:
    short = "--dsr1-set=accuracy.same_answers.output_tokens=4"
    assert accepted.run("--dsr1-profile=same", short).ret == 11
    replay = f"--dsr1-replay={folder(accepted, 'same')}"
    result = accepted.run("--dsr1-profile=same", replay)  # now it is set as in the references
    assert result.ret == 11
    output = " ".join(result.stdout.str().split())
    assert "NO REFERENCE accuracy: same_answers: " in output
    assert "output_tokens: 8 in the references, 4 here" in output
    assert "judged as it was asked: output_tokens: 4 when it ran, 8 now" in output


def test_a_result_from_before_it_was_asked_is_invalid(asked: Suites) -> None:
    path = asked.folder / "asked.yaml"
    text = path.read_text("utf-8")
    path.write_text(
        text.partition("accuracy:")[0] + "targets" + text.partition("targets")[2], encoding="utf-8"
    )
    assert asked.run(PROFILE).ret == 0
    path.write_text(text, encoding="utf-8")
    result = asked.run(PROFILE, f"--dsr1-replay={folder(asked, 'asked')}")
    assert result.ret == 10
    output = " ".join(result.stdout.str().split())
    assert (
        "INVALID accuracy: sums: this result has no answers, because its scenario did not ask for "
        "them when it "
        "ran; run it again"
    ) in output


def test_ctrl_c_while_questions_are_answered_keeps_the_measurement(
    asked: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its targets can be judged; the questions that were not answered cannot."""
    monkeypatch.setenv("SCRIPTED_FAIL", "interrupt-answers")
    assert asked.run_apart(PROFILE).ret == pytest.ExitCode.INTERRUPTED
    saved = folder(asked, "asked")
    document = json.loads((saved / "measurement.json").read_text(encoding="utf-8"))
    assert document["state"] == "complete"
    result = asked.run(f"--dsr1-replay={saved}", "-v")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*::target[[]total_output_throughput[]] PASSED*"])
    assert "37 of 40 questions have no answer" in " ".join(result.stdout.str().split())
