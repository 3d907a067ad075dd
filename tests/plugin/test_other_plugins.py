"""What other plugins and markers do to the tests of scenarios: no verdict gets lost, and none turns green."""

from __future__ import annotations

import time

import pytest

from tests.helpers.suites import CONFTEST, Suites

TARGETS = ("target[total_output_throughput]", "target[average_ttft]")
MARKED = """
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name.startswith("target"):
            item.add_marker({mark})
"""
FIXTURE = """
@pytest.fixture(autouse=True)
def on_sundays(request):
    if request.node.name.startswith("target"):
        {call}
"""
CALL = """
def pytest_runtest_call(item):
    if item.name.startswith("target"):
        {call}
"""
NEVER = "def pytest_runtestloop(session): return True\n"


def conftest(suites: Suites, text: str) -> None:
    suites.pytester.makeconftest(CONFTEST + text)


def said(result: pytest.RunResult) -> str:
    """All that was printed, without line breaks."""
    return " ".join(" ".join((*result.outlines, *result.errlines)).split())


WAYS = {
    "skip": (MARKED.format(mark="pytest.mark.skip(reason='not on Sundays')"), "skipped: not on Sundays"),
    "skip in a fixture": (FIXTURE.format(call="pytest.skip('not on Sundays')"), "skipped: not on Sundays"),
    "skip in a hook": (CALL.format(call="pytest.skip('not on Sundays')"), "skipped: not on Sundays"),
    "xfail": (MARKED.format(mark="pytest.mark.xfail(reason='ticket 7')"), "marked xfail: ticket 7"),
    "xfail, not run": (
        MARKED.format(mark="pytest.mark.xfail(reason='ticket 7', run=False)"),
        "marked xfail: ticket 7",
    ),
    "xfail in a fixture": (FIXTURE.format(call="pytest.xfail('ticket 7')"), "marked xfail: ticket 7"),
    "never run": (NEVER, "its test did not run"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_was_selected_and_not_judged_is_an_error(suites: Suites, way: str) -> None:
    text, why = WAYS[way]
    conftest(suites, text)
    result = suites.run("--dsr1-profile=alpha", "-rN", "--dsr1-report=report.md")
    assert result.ret == 12
    output = said(result)
    for name in TARGETS:
        assert f"INCONCLUSIVE not judged: alpha::{name}: {why}" in output
    assert "dsr1_unjudged" in output
    report = (suites.pytester.path / "report.md").read_text(encoding="utf-8")
    assert "1 INCONCLUSIVE" in report
    assert "not judged" in report


@pytest.mark.parametrize("option", ["--benchmark-skip", "--setup-only", "--setup-plan"])
def test_an_option_that_leaves_targets_out_is_not_green(suites: Suites, option: str) -> None:
    result = suites.run("--dsr1-profile=alpha", option)
    assert result.ret == 12
    assert said(result).count("INCONCLUSIVE not judged: alpha::target[") == 2


def test_an_engine_that_failed_is_not_expected_to_fail(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    conftest(suites, MARKED.format(mark="pytest.mark.xfail"))
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 12
    result.assert_outcomes(passed=1, errors=2)


def test_a_mark_that_comes_while_a_test_runs_hides_no_verdict(
    suites: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    conftest(suites, FIXTURE.format(call="request.node.add_marker(pytest.mark.xfail)"))
    result = suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.0.value=99")
    assert result.ret == 1
    result.assert_outcomes(passed=1, xpassed=1, failed=1)
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    assert suites.run("--dsr1-profile=alpha").ret == 10


def test_a_hook_that_runs_no_body_hides_no_verdict(suites: Suites) -> None:
    conftest(suites, "def pytest_pyfunc_call(pyfuncitem):\n    return True\n")
    result = suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.0.value=99")
    assert result.ret == 1


@pytest.mark.parametrize(
    ("way", "allowed", "status"),
    [
        ("skip", "alpha::target[[]*", 12),
        ("skip", "alpha::target[*", 0),
        ("never run", "*::target[total_output_throughput]\n alpha::target[average_ttft]", 0),
        ("skip", "alpha::target[average_ttft]", 12),
    ],
)
def test_targets_may_go_unjudged_by_name(suites: Suites, way: str, allowed: str, status: int) -> None:
    text, why = WAYS[way]
    conftest(suites, text)
    ini = suites.pytester.path / "tox.ini"
    ini.write_text(f"{ini.read_text(encoding='utf-8')}\ndsr1_unjudged =\n {allowed}\n", encoding="utf-8")
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == status
    if not status:
        assert f"not judged: alpha::target[average_ttft]: {why} (dsr1_unjudged allows it)" in said(result)


def test_an_allowed_miss_is_expected(suites: Suites) -> None:
    conftest(suites, WAYS["xfail"][0])
    options = ("--dsr1-set=targets.0.value=99", "-o", "dsr1_unjudged=alpha::*")
    result = suites.run("--dsr1-profile=alpha", *options)
    assert result.ret == 0
    result.assert_outcomes(passed=1, xfailed=1, xpassed=1)


def test_a_name_without_a_profile_allows_nothing(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha", "-o", "dsr1_unjudged=average_ttft")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: ini option dsr1_unjudged: expected PROFILE::TEST, such as "
            "'alpha::target[[]average_ttft]' or 'alpha::[*]', found 'average_ttft'"
        ]
    )


def test_what_was_deselected_was_not_skipped(suites: Suites) -> None:
    conftest(suites, WAYS["skip"][0])
    result = suites.run("--dsr1-profile=alpha", "-k", "environment")
    assert result.ret == 0
    assert "not judged" not in said(result)


SLOW = """
import time
import tests.standins.scripted_engine

class Slow(ScriptedEngine):
    def run(self, job, observer):
        time.sleep(30)

@pytest.fixture(scope="session")
def dsr1_engine():
    return Slow()
"""


@pytest.mark.needs("pytest_timeout")
@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_time_limit_of_another_plugin_is_no_missed_target(suites: Suites, method: str) -> None:
    conftest(suites, SLOW)
    started = time.monotonic()
    result = suites.run_apart("--dsr1-profile=alpha", "--timeout=1.5", f"--timeout-method={method}")
    assert result.ret == 10
    assert time.monotonic() - started < 20
    result.assert_outcomes(passed=1, errors=2)
    output = said(result)
    assert "PERFORMANCE OVERVIEW" in output
    assert "INVALID the run was ended: Timeout (>1.5s) from pytest-timeout" in output
    assert "Traceback" not in output


FAULTS = {
    "fail": ("pytest.fail('the room is too warm')", "the room is too warm"),
    "error": ("raise ValueError('no license')", "ValueError: no license"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
}


WHERE = ["run", "run", "run", "setup", "call", "teardown"]


@pytest.mark.parametrize(
    ("where", "fault"), list(zip(WHERE, ["fail", "error", "exit", "error", "error", "fail"], strict=True))
)
def test_what_others_raise_is_no_missed_target(suites: Suites, where: str, fault: str) -> None:
    call, why = FAULTS[fault]
    hook = {
        "run": f"""
class Faulty(ScriptedEngine):
    def run(self, job, observer):
        {call}

@pytest.fixture(scope="session")
def dsr1_engine():
    return Faulty()
""",
        "setup": FIXTURE.format(call=call),
        "call": CALL.format(call=call),
        "teardown": f"""
@pytest.fixture(autouse=True)
def later(request):
    yield
    if request.node.name.startswith("target"):
        {call}
""",
    }[where]
    conftest(suites, hook)
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 10
    output = said(result)
    assert "PERFORMANCE OVERVIEW" in output
    assert why in output.partition("PERFORMANCE OVERVIEW")[2]
    assert "INVALID" in output.partition("PERFORMANCE OVERVIEW")[2]


def test_what_others_raise_in_a_users_test_is_that_tests_failure(suites: Suites) -> None:
    suites.pytester.makepyfile(test_mine="def test_mine(dsr1_measurement): assert False")
    assert suites.run("--dsr1-profile=alpha", "test_mine.py").ret == 1


FORKED = """
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    raise AssertionError("not in a process of its own")
"""


def test_the_tests_run_by_pytests_own_protocol(suites: Suites) -> None:
    """As pytest-forked, pytest-rerunfailures and flaky replace it: before ours is registered."""
    suites.pytester.makepyfile(forks=f"import pytest\n{FORKED}")
    suites.pytester.syspathinsert()
    result = suites.run("-p", "forks", "--dsr1-profile=alpha")
    assert result.ret == 0
    result.assert_outcomes(passed=3)


EARLY = {
    "a time limit": (
        "import time\ndef pytest_runtest_logfinish(nodeid, location): pass\n"
        "class Limit:\n"
        "    def __init__(self, session): self.session = session\n"
        "    def pytest_runtest_teardown(self, item):\n"
        "        if 'total' in item.name: self.session.shouldfail = 'session-timeout: 2.5 sec exceeded'\n"
        "def pytest_sessionstart(session): session.config.pluginmanager.register(Limit(session))\n",
        "session-timeout: 2.5 sec exceeded",
    ),
    "a stop": (
        "def pytest_runtest_teardown(item):\n    if 'total' in item.name: item.session.shouldstop = True\n",
        "no reason is given",
    ),
    "pytest.exit": (
        "def pytest_runtest_setup(item):\n    if 'ttft' in item.name: pytest.exit('enough.')\n",
        "enough",
    ),
    "pytest.exit with a status": (
        "def pytest_runtest_setup(item):\n    if 'ttft' in item.name: pytest.exit('', returncode=1)\n",
        "pytest.exit",
    ),
}


@pytest.mark.parametrize("way", EARLY)
def test_a_session_that_ends_early_names_what_it_did_not_judge(suites: Suites, way: str) -> None:
    text, why = EARLY[way]
    conftest(suites, text)
    result = suites.run("--dsr1-profile=alpha,beta")
    assert result.ret == 12
    output = said(result)
    assert "INTERNALERROR" not in output
    assert "not judged: alpha::target[total_output_throughput]" not in output
    for name in ("alpha::target[average_ttft]", *(f"beta::{target}" for target in TARGETS)):
        assert f"INCONCLUSIVE not judged: {name}: the session ended early: {why}; remove the" in output


@pytest.mark.parametrize("option", ["-x", "--maxfail=1", "--stepwise"])
def test_another_tests_failure_that_ends_the_session_is_no_missed_target(suites: Suites, option: str) -> None:
    suites.pytester.makepyfile(test_a="def test_a(): assert False")
    suites.pytester.makepyfile(test_b="def test_b(): pass")
    cache = ("-p", "cacheprovider", "-o", "addopts=")
    result = suites.run("test_a.py", "own/alpha.yaml", option, *cache)
    assert result.ret == 12
    assert "not judged: alpha::target[average_ttft]: the session ended early: " in said(result)
    # What was judged stays so, and pytest's own status applies.
    assert suites.run("own/alpha.yaml", "test_a.py", option, *cache).ret in {1, 2}
    assert suites.run("own/alpha.yaml", "test_a.py", "test_b.py", *cache).ret == 1


def test_a_missed_target_before_an_early_end_is_missed(suites: Suites) -> None:
    conftest(suites, EARLY["pytest.exit"][0])
    result = suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.0.value=99")
    assert result.ret == 1
    assert "not judged: alpha::target[average_ttft]: the session ended early: enough" in said(result)


LATE = """
@pytest.fixture(autouse=True)
def late(request):
    yield
    if request.node.name.startswith("target"): pytest.skip("late")
"""
RECOLORED = """
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if {when} and item.name.startswith("target"):
        report.outcome, report.longrepr = "skipped", ("f", 1, "Skipped: known")
    return report
"""
MISSED = "--dsr1-set=targets.0.value=99"


def test_a_skip_of_the_teardown_leaves_the_verdict(suites: Suites) -> None:
    conftest(suites, LATE)
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 0
    assert "not judged" not in said(result)
    missed = suites.run("--dsr1-profile=alpha", MISSED)
    assert missed.ret == 1
    assert "INTERNALERROR" not in said(missed)


def test_a_failure_that_a_plugin_reports_as_skipped_is_a_failure(suites: Suites) -> None:
    conftest(suites, RECOLORED.format(when="report.failed"))
    result = suites.run("--dsr1-profile=alpha", MISSED)
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=1)
    output = said(result)
    assert "INTERNALERROR" not in output
    assert (
        "is 83.8% below the target 99" in output.partition("FAILURES")[2].partition("PERFORMANCE OVERVIEW")[0]
    )


@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_a_report_that_a_plugin_changes_loses_no_verdict(suites: Suites, phase: str) -> None:
    conftest(suites, RECOLORED.format(when=f"call.when == {phase!r}"))
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == (12 if phase == "setup" else 0)  # without its setup, pytest leaves out the call
    assert ("INCONCLUSIVE not judged: alpha::target[average_ttft]: skipped: known" in said(result)) is (
        phase == "setup"
    )


def test_a_failing_teardown_that_is_reported_as_skipped_does_not_count(suites: Suites) -> None:
    fault = LATE.replace('pytest.skip("late")', 'raise ValueError("no license")')
    conftest(suites, fault + RECOLORED.format(when="report.failed"))
    result = suites.run("--dsr1-profile=alpha")
    assert result.ret == 10
    assert "no license" in said(result)
