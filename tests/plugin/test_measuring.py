"""What a run does: measures once, judges, saves, and tells."""

from __future__ import annotations

import importlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_dsr1.measurement import store
from pytest_dsr1.measurement.measurement import Measurement
from tests.helpers.saved_runs import Made, save
from tests.helpers.suites import CONFTEST, Suites


def folder(suites: Suites, profile: str = "alpha") -> Path:
    (found,) = (suites.pytester.path / ".dsr1" / profile).iterdir()
    return found


def test_targets_that_are_met_pass(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 0
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*PERFORMANCE OVERVIEW*",
            "alpha  (CPU, engine transformers)",
            "  PASS    total output throughput*16 tok/s*+0.0%",
            "          bound >= 15.2, target 16 tok/s",
            "  PASS    average time to first token (TTFT)*125 ms*+37.5%",
            "  also    per-user output throughput 8 tok/s/user; request throughput 4 req/s;*",
            "  results *.dsr1/alpha/*",
        ]
    )


def test_one_measurement_serves_every_test(suites: Suites) -> None:
    suites.pytester.makepyfile(
        test_mine="""
        def test_mine(dsr1_measurement, dsr1_scenario):
            assert dsr1_measurement.metrics["average_ttft"].value < 200
            assert dsr1_measurement.scenario.name == dsr1_scenario.name
        """
    )
    result = suites.run("--dsr1-profile=alpha,beta", "test_mine.py")
    result.assert_outcomes(passed=8)
    assert sorted(suites.engine_runs) == ["alpha", "beta"]


def test_a_missed_target_fails_and_says_by_how_much(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.total_output_throughput.value=20")
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "total output throughput 16 tok/s is 20.0% below the target 20 (tolerance 5%: at least 19 tok/s)",
            "own/alpha.yaml:*; results: *.dsr1/alpha/*",
            "  FAIL    total output throughput*16 tok/s*-20.0%",
        ]
    )
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("engine", "the scripted engine failed; last lines of its log:"),
        ("request", "  1 of 8 requests failed, the first: the server said no"),
        ("fewer", "  7 requests ended; expected 8"),
    ],
)
def test_a_run_that_proves_nothing_is_an_error(
    suites: Suites, monkeypatch: pytest.MonkeyPatch, failure: str, message: str
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", failure)
    result = suites.run("--dsr1-profile=alpha", "--junitxml=junit.xml")
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines([message])
    assert suites.engine_runs == ["alpha"]
    assert "Traceback" not in result.stdout.str()
    suite = ET.parse(suites.pytester.path / "junit.xml").getroot()[0]
    assert (suite.get("errors"), suite.get("failures")) == ("2", "0")
    words = [p.get("value") for p in suite.iter("property") if p.get("name") == "dsr1_verdict"]
    assert sorted(w for w in words if w) == ["INVALID", "INVALID", "PASS"]


def test_a_failure_of_another_test_keeps_exit_status_1(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    suites.pytester.makepyfile(test_other="def test_other(): assert False")
    assert suites.run("--dsr1-profile=alpha", "test_other.py").ret == 1


def test_a_target_that_was_not_measured_is_an_error_which_a_missed_one_outranks(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "streaming")
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 10
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["average time to first token (TTFT) was not measured by engine*"])
    assert suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.0.value=99").ret == 1


def test_junit_carries_the_verdict_and_every_metric(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--junitxml=junit.xml", "-o", "junit_family=xunit1")
    cases = list(ET.parse(suites.pytester.path / "junit.xml").getroot().iter("testcase"))
    last = {p.get("name"): p.get("value") for p in cases[-1].iter("property")}
    assert last["dsr1_verdict"] == "PASS"
    assert last["dsr1_profile"] == "alpha"
    assert float(last["dsr1_total_output_throughput [tok/s]"] or 0) == pytest.approx(16.0)
    assert float(last["dsr1_average_ttft [ms]"] or 0) == pytest.approx(125.0)
    assert cases[-1].get("file") == "own/alpha.yaml"
    assert cases[-1].get("line") == "18"


def test_what_is_saved(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha")
    saved = folder(suites)
    document = json.loads((saved / "measurement.json").read_text(encoding="utf-8"))
    assert (document["format"], document["version"], document["state"]) == (
        "pytest-dsr1 measurement",
        1,
        "complete",
    )
    assert document["place"] == "own/alpha.yaml"
    assert len((saved / "requests.jsonl").read_text(encoding="utf-8").splitlines()) == 8
    verdicts = json.loads((saved / "verdicts.json").read_text(encoding="utf-8"))
    assert [v["word"] for v in verdicts] == ["PASS", "PASS"]


def test_an_interrupted_run_leaves_readable_artifacts(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "interrupt")
    assert suites.run_apart("--dsr1-profile=alpha").ret == pytest.ExitCode.INTERRUPTED
    document = json.loads((folder(suites) / "measurement.json").read_text(encoding="utf-8"))
    assert (document["state"], document["error"]) == ("failed", "ended by KeyboardInterrupt")


def test_replay_judges_a_saved_measurement_again(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha")
    saved = folder(suites)
    again = suites.run(f"--dsr1-replay={saved}", "-v")
    assert again.ret == 0
    again.stdout.fnmatch_lines(["own/alpha.yaml::target?total_output_throughput? *PASSED*"])
    roundabout = saved.parent / ".." / saved.parent.name / saved.name
    assert suites.run(f"--dsr1-replay={roundabout}").ret == 0
    strict = suites.run(f"--dsr1-replay={saved}", "--dsr1-set=targets.total_output_throughput.value=17")
    assert strict.ret == 1
    strict.stdout.fnmatch_lines(["*16 tok/s is 5.9% below the target 17*"])
    assert suites.engine_runs == ["alpha"]


def test_replay_loads_each_result_once(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    suites.run("--dsr1-profile=alpha,beta")
    loaded: list[Path] = []
    load = store.load

    def counted(folder: Path) -> Measurement:
        loaded.append(folder)
        return load(folder)

    monkeypatch.setattr(store, "load", counted)
    result = suites.run("--dsr1-replay=*", "--dsr1-replay=.dsr1/*/*", "--benchmark-json=b.json")
    assert result.ret == 0
    assert sorted(loaded) == sorted(suites.pytester.path.glob(".dsr1/*/*"))


def test_replay_says_what_forced_the_acceptance_before_that_was_a_key(pytester: pytest.Pytester) -> None:
    made = Made("h200/min-latency", waves=10, concurrency=1)
    result = save(pytester.path / ".dsr1", made).folder
    scenario, document = result / "scenario.yaml", result / "measurement.json"
    variable = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
    text = scenario.read_text().replace("  environment: {}\n", f"  environment:\n    {variable}: '1.4'\n")
    assert variable in text
    scenario.write_text(text)
    saved = json.loads(document.read_text())
    saved["measurement"]["scenario"]["engine"]["environment"] = {variable: "1.4"}
    saved["measurement"]["metrics"]["acceptance_length"]["value"] = 2.4
    document.write_text(json.dumps(saved))
    again = pytester.runpytest("--dsr1-replay=h200-min-latency", "--dsr1-report=summary.md")
    again.assert_outcomes(passed=3)
    again.stdout.fnmatch_lines(
        [
            "h200-min-latency  (8 x NVIDIA H200, engine trtllm-bench, acceptance length 2.4 forced)",
            "  PASS    per-user output throughput*",
            "  warning .dsr1/h200-min-latency/*/scenario.yaml:*:",
            f"          engine.environment.{variable}: forced",
            "          the acceptance length: 2.4",
        ]
    )
    summary = (pytester.path / "summary.md").read_text()
    assert "per-user output throughput (acceptance length 2.4 forced)" in summary
    assert "published" not in summary
    new = pytester.runpytest(str(scenario))
    new.stdout.fnmatch_lines(
        [f"*: engine.environment.{variable}: forces the acceptance length: remove it, *"]
    )


def test_replay_with_the_profile_uses_todays_targets(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha")
    saved = folder(suites)
    suites.write("alpha", target=40.0)
    assert suites.run(f"--dsr1-replay={saved}").ret == 0
    assert suites.run(f"--dsr1-replay={saved}", "--dsr1-profile=alpha").ret == 1
    other = suites.run(f"--dsr1-replay={saved}", "--dsr1-profile=beta")
    assert other.ret == 10
    other.stdout.fnmatch_lines(["*expected a result of beta, found one of alpha"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: is neither a folder nor a profile with results in .dsr1"),
        ("own/*", "own/[*]: is neither a folder nor a profile with results in .dsr1"),
        ("own", "*own: no measurement.json; a saved result is a folder*"),
    ],
)
def test_replay_of_nothing_is_a_usage_error(suites: Suites, name: str, message: str) -> None:
    result = suites.run(f"--dsr1-replay={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_replay_takes_several_results_by_folder_profile_and_glob(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha,beta")
    first, strict = folder(suites), "--dsr1-set=targets.0.value=99"
    for given in (["alpha", "beta"], ["*"], [".dsr1/*/*"], [str(first), "b*", "beta"]):
        result = suites.run(*(f"--dsr1-replay={each}" for each in given), strict)
        assert result.ret == 1
        result.assert_outcomes(passed=4, failed=2)
    assert suites.engine_runs == ["alpha", "beta"]
    suites.run("--dsr1-profile=alpha")
    result = suites.run("--dsr1-replay=alpha", "--benchmark-json=b.json")
    (newest,) = set((suites.pytester.path / ".dsr1" / "alpha").iterdir()) - {first}
    result.stdout.fnmatch_lines([f"  results .dsr1/alpha/{newest.name}"])
    both = suites.run("--dsr1-replay=.dsr1/alpha/*")
    assert both.ret == pytest.ExitCode.USAGE_ERROR
    both.stderr.fnmatch_lines(
        ["ERROR: --dsr1-replay: .dsr1/alpha/* and .dsr1/alpha/* are both results of alpha; a run judges one*"]
    )


def test_the_machine_alone_can_be_looked_at(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha", "-k", "environment")
    result.assert_outcomes(passed=1, deselected=2)
    assert suites.engine_runs == []


def test_a_machine_without_the_hardware_is_told_all_that_is_missing(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSR1_MODELS", str(suites.pytester.path / "models"))
    result = suites.run("--dsr1-profile=h200-max-throughput")
    assert result.ret == 10
    result.assert_outcomes(errors=3)
    text = result.stdout.str()
    assert "8 x NVIDIA H200" in text
    assert "models/DeepSeek-R1" in text
    assert "Traceback" not in text


def test_an_unset_variable_is_an_error_when_the_scenario_runs(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSR1_MODELS", raising=False)
    result = suites.run("--dsr1-profile=h200-max-throughput")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*DSR1_MODELS*"])


@pytest.mark.parametrize("style", ["auto", "no"])
def test_a_cause_of_several_lines_is_told_in_full_once(
    suites: Suites, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    result = suites.run("--dsr1-profile=alpha", f"--tb={style}")
    text = result.stdout.str()
    assert text.count("out of memory") == (3 if style == "auto" else 1)
    assert "  out of memory" in text
    if style == "auto":
        result.stdout.fnmatch_lines(
            [
                "  out of memory",
                "as above, at own/alpha.yaml::target[[]total_output_throughput]: the scripted engine failed; "
                "last lines of its log: out of memory",
                "  INVALID the scripted engine failed; last lines of its log: out of memory (in",
                "          full above, at own/alpha.yaml::target[[]total_output_throughput])",
            ]
        )


def test_quiet_verbose_and_first_failure(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suites.run("--dsr1-profile=alpha", "-q").ret == 0
    verbose = suites.run("--dsr1-profile=alpha", "-v")
    verbose.stdout.fnmatch_lines(["own/alpha.yaml::environment PASSED*"])
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    first = suites.run("--dsr1-profile=alpha,beta", "-x")
    assert first.ret == 10
    first.assert_outcomes(passed=1, errors=1)
    assert suites.engine_runs[-1:] == ["alpha"]


def test_last_failed_runs_the_missed_target_again(suites: Suites) -> None:
    strict = "--dsr1-set=targets.total_output_throughput.value=20"
    cache = ("-p", "cacheprovider", "-o", "addopts=")
    suites.run("--dsr1-profile=alpha", strict, *cache)
    again = suites.run("--dsr1-profile=alpha", strict, "--lf", *cache)
    again.assert_outcomes(failed=1)


def test_piped_output_has_a_line_for_each_phase(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha")
    result.stdout.fnmatch_lines(["alpha: starting*", "alpha: loading*", "alpha: measuring*0/8 requests*"])


def test_a_full_disk_is_an_error_in_one_sentence(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    # By import: its package forgets it when a pytest run in this process ends.
    store = importlib.import_module("pytest_dsr1.measurement.store")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_row", full)
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*results cannot be written: No space left on device; free space there*"])
    assert "Traceback" not in result.stdout.str()


def test_a_replay_leaves_the_verdict_of_record_alone(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha")
    saved = folder(suites)
    before = (saved / "verdicts.json").read_bytes()
    suites.run(f"--dsr1-replay={saved}", "--dsr1-set=targets.total_output_throughput.value=99", "-x")
    assert (saved / "verdicts.json").read_bytes() == before


def test_without_a_terminal_reporter(suites: Suites) -> None:
    assert suites.run("--dsr1-profile=alpha", "-p", "no:terminal").ret == 0


def test_an_unset_variable_and_an_interruption_stand_in_the_overview(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSR1_MODELS", raising=False)
    result = suites.run("--dsr1-profile=h200-max-throughput")
    result.stdout.fnmatch_lines(["*PERFORMANCE OVERVIEW*", "  INVALID scenario h200-max-throughput: *"])
    monkeypatch.setenv("SCRIPTED_FAIL", "interrupt")
    result = suites.run_apart("--dsr1-profile=alpha")
    result.stdout.fnmatch_lines(
        ["*PERFORMANCE OVERVIEW*", "  INVALID interrupted", "  results .dsr1/alpha/*"]
    )


def test_the_fingerprint_holds_what_was_asked_of_the_engine(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha")
    document = json.loads((folder(suites) / "measurement.json").read_text(encoding="utf-8"))
    facts = document["measurement"]["fingerprint"]["facts"]
    assert facts["option.engine.type"] == "transformers"
    assert facts["option.load.concurrency"] == 2


CHECKS = """
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.preflight.check import check

@check()
def broken(look):
    \"\"\"Nothing is wrong.\"\"\"
    yield Finding("mismatch", "GPU count", "expected 8, found 1")
    yield Finding("{severity}", "software", "vllm: not found; install it")

def pytest_dsr1_checks():
    return [broken]
"""


@pytest.mark.parametrize(("severity", "status"), [("mismatch", 10), ("ok", 0)])
def test_missing_software_is_not_allowed_as_a_mismatch(suites: Suites, severity: str, status: int) -> None:
    suites.pytester.makeconftest(CONFTEST + CHECKS.format(severity=severity))
    result = suites.run("--dsr1-profile=alpha", "--dsr1-allow-mismatch")
    assert result.ret == status
    assert ("vllm: not found; install it" in result.stdout.str()) is (status == 10)
    assert suites.run("--dsr1-profile=alpha").ret == 10


def test_replay_of_folders_of_results_is_one_session(suites: Suites) -> None:
    suites.write("gamma")
    suites.run("--dsr1-profile=alpha,beta", "--dsr1-results=jobs/1")
    suites.run("--dsr1-profile=alpha", "--dsr1-results=jobs/1")
    suites.run("--dsr1-profile=gamma", "--dsr1-results=jobs/2")
    folders = ("--dsr1-replay=jobs/1", f"--dsr1-replay={suites.pytester.path}/jobs/2/")
    again = suites.run(*folders, "--dsr1-report=page.md")
    again.assert_outcomes(passed=9)
    page = (suites.pytester.path / "page.md").read_text(encoding="utf-8")
    assert page.startswith("# DeepSeek-R1 performance: 3 PASS\n")
    newest = max(suites.pytester.path.glob("jobs/1/alpha/*"))
    assert f"  results jobs/1/alpha/{newest.name}" in again.outlines


def test_replay_of_a_folder_of_results_names_what_it_leaves_out(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites.run("--dsr1-profile=alpha")
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    suites.run("--dsr1-profile=beta")
    again = suites.run("--dsr1-replay=.dsr1")
    again.assert_outcomes(passed=3)
    assert "dsr1: --dsr1-replay: .dsr1/beta has no complete result, so it is left out" in again.outlines
    suites.run("--dsr1-profile=beta", "--dsr1-results=failed")
    refused = suites.run("--dsr1-replay=failed")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    left_out = "--dsr1-replay: failed/beta has no complete result, so it is left out"
    assert refused.errlines[0] == f"ERROR: {left_out}"
    both = suites.run("--dsr1-replay=failed", "--dsr1-replay=alpha")
    both.assert_outcomes(passed=3)
    assert f"dsr1: {left_out}" in both.outlines


def test_two_folders_with_results_of_one_profile_are_refused(suites: Suites) -> None:
    for number in "12":
        suites.run("--dsr1-profile=alpha", f"--dsr1-results=jobs/{number}")
    result = suites.run("--dsr1-replay=jobs/1", "--dsr1-replay=jobs/2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --dsr1-replay: jobs/1/alpha/* and jobs/2/alpha/* are both results of alpha; *"]
    )
