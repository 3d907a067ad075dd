"""What a conftest.py adds by our hooks, and what is said of one that is broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.hookspecs import pytest_dsr1_reports
from tests.helpers.suites import CONFTEST, Suites

TABLE = """
from pytest_dsr1.reporting.formats import ReportFormat

def write(path, report):
    rows = [
        f"{case.scenario.name},{verdict.metric},{verdict.measured},{verdict.status.value}"
        for case in report.cases
        for verdict in case.judgment.judged
    ]
    path.write_text("\\n".join(rows))

def pytest_dsr1_reports():
    yield ReportFormat(".csv", "a table", write)
"""


@pytest.fixture
def table(suites: Suites) -> Suites:
    suites.pytester.makeconftest(CONFTEST + TABLE)
    return suites


def test_a_report_format_of_a_conftest(table: Suites) -> None:
    """Twice in one process: what a run adds is gone after it."""
    for _ in range(2):
        result = table.run("--dsr1-profile=alpha", "--dsr1-report=report.csv", "--dsr1-report=report.md")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["dsr1: wrote report.csv", "dsr1: wrote report.md"])
        assert (table.pytester.path / "report.csv").read_text(encoding="utf-8") == (
            "alpha,total_output_throughput,16.0,PASS\nalpha,average_ttft,125.0,PASS"
        )


def test_the_formats_there_are_name_it(table: Suites) -> None:
    result = table.run("--dsr1-profile=alpha", "--dsr1-report=report.txt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *GitLab's Code Quality report, .csv for a table"])


def test_the_example_of_the_hook_works(suites: Suites) -> None:
    _, _, example = (pytest_dsr1_reports.__doc__ or "").partition("::\n")
    suites.pytester.makeconftest(CONFTEST + "\n" + "\n".join(line[8:] for line in example.splitlines()))
    assert suites.run("--dsr1-profile=alpha", "--dsr1-report=report.csv").ret == 0
    assert (suites.pytester.path / "report.csv").read_text(encoding="utf-8") == (
        "alpha,total_output_throughput,PASS\nalpha,average_ttft,PASS"
    )


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("1 / 0", "conftest.py is broken: pytest_dsr1_reports failed: ZeroDivisionError('division by zero')"),
        ("yield 1", "conftest.py is broken: pytest_dsr1_reports returned 1, expected ReportFormat"),
        (
            "yield ReportFormat('csv', 'a table', print)",
            'conftest.py is broken: pytest_dsr1_reports failed: ValueError("suffix of a report format: '
            "expected one such as '.csv', found 'csv'\")",
        ),
        (
            "yield ReportFormat('.md', 'a table', print)",
            "conftest.py both write .md reports: remove one of them",
        ),
    ],
)
def test_a_broken_hook_is_one_sentence(suites: Suites, hook: str, message: str) -> None:
    source = "\nfrom pytest_dsr1.reporting.formats import ReportFormat\ndef pytest_dsr1_reports():\n    "
    suites.pytester.makeconftest(CONFTEST + source + hook)
    result = suites.run("--dsr1-profile=alpha", "--dsr1-report=report.csv")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: the pytest-dsr1 plugin")
    assert line.endswith(message)
    assert suites.engine_runs == []


ENGINE = '''
from typing import Literal

from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.engine import EngineSettings
from tests.standins.scripted_engine import ScriptedEngine

def call(name, value=None):
    if name == "{failing}":
        raise ValueError("out of order")
    return value

class Acme(EngineSettings):
    """An engine of the tests."""
    type: Literal["acme"]
    """Acme."""
    @property
    def slots(self):
        return call("slots")
    @property
    def streams(self):
        return call("streams", True)
    def software(self, environ):
        yield from call("software", ())
    def without_cuda_graph(self, requests):
        return call("without_cuda_graph")

RULES = EngineRules()

@RULES.must("engine.type")
def always(engine, scenario):
    """It works."""
    yield from call("rule", ())

class Engine(ScriptedEngine):
    def run(self, job, observer):
        call("run")
        return super().run(job, observer)
    def script(self, job):
        return call("script", "true")

class Pool:
    def __bool__(self):
        return False
    def fits(self, scenario):
        return call("fits", False)
    def end(self):
        pass

def create(pool=None):
    return call("create", Engine())

def pool():
    return call("pool", Pool())

def pytest_dsr1_engines():
    return [EngineSpec(settings=Acme, create=create, pool=pool, rules=tuple(RULES.relations))]
'''


@pytest.fixture
def acme(suites: Suites) -> Callable[..., tuple[pytest.RunResult, str]]:
    """Runs a scenario of an engine that fails in one place; returns the run and all that it prints."""
    path = suites.write("acme")
    path.write_text(path.read_text(encoding="utf-8").replace("type: transformers", "type: acme"), "utf-8")

    def run(failing: str, *options: str) -> tuple[pytest.RunResult, str]:
        suites.pytester.makeconftest(ENGINE.replace("{failing}", failing))
        result = suites.run("--dsr1-profile=acme", *options)
        printed = " ".join(" ".join((*result.outlines, *result.errlines)).split())
        return result, printed.replace(str(suites.pytester.path / "conftest.py"), "CONFTEST")

    return run


@pytest.mark.parametrize(
    ("failing", "what", "options", "status"),
    [
        ("slots", "slots of its engine acme", (), pytest.ExitCode.USAGE_ERROR),
        ("streams", "streams of its engine acme", (), pytest.ExitCode.USAGE_ERROR),
        ("rule", 'the rule "It works." of its engine', (), pytest.ExitCode.USAGE_ERROR),
        ("software", "software of its engine acme", (), 10),
        ("create", "create of its engine acme", (), 10),
        ("pool", "pool of its engine acme", (), 10),
        ("fits", "fits of its engine acme", (), 10),
        ("run", "run of its engine acme", (), 10),
        ("script", "script of its engine acme", ("--dsr1-plan",), pytest.ExitCode.USAGE_ERROR),
    ],
)
def test_an_engine_that_fails_is_one_sentence(
    acme: Callable[..., tuple[pytest.RunResult, str]],
    failing: str,
    what: str,
    options: tuple[str, ...],
    status: int,
) -> None:
    result, printed = acme(failing, *options)
    assert f"the pytest-dsr1 plugin CONFTEST is broken: {what} failed: ValueError('out of order')" in printed
    assert result.ret == status
    assert "INTERNALERROR" not in printed
    assert "Traceback" not in printed
    assert ("INVALID" in printed) == (status == 10)


def test_an_engine_of_a_conftest_runs(acme: Callable[..., tuple[pytest.RunResult, str]]) -> None:
    result, printed = acme("nothing")
    assert result.ret == 0, printed


@pytest.mark.parametrize(
    ("function", "status", "line"),
    [
        (
            "write",
            0,
            "dsr1: report.csv cannot be written: the pytest-dsr1 plugin CONFTEST is broken: write() for "
            ".csv reports failed: ZeroDivisionError('division by zero'); *",
        ),
        (
            "missing",
            pytest.ExitCode.USAGE_ERROR,
            "ERROR: the pytest-dsr1 plugin CONFTEST is broken: missing() for .csv reports failed: "
            "ZeroDivisionError('division by zero')",
        ),
    ],
)
def test_a_report_format_that_fails_is_one_sentence(
    suites: Suites, function: str, status: int, line: str
) -> None:
    source = f"""
from pytest_dsr1.reporting.formats import ReportFormat

def pytest_dsr1_reports():
    yield ReportFormat(**{{"suffix": ".csv", "what": "a table", "write": print, "{function}": fails}})

def fails(*_):
    1 / 0
"""
    suites.pytester.makeconftest(CONFTEST + source)
    result = suites.run("--dsr1-profile=alpha", "--dsr1-report=report.csv")
    assert result.ret == status
    printed = result.stdout if function == "write" else result.stderr
    printed.fnmatch_lines([line.replace("CONFTEST", str(suites.pytester.path / "conftest.py"))])


@pytest.mark.parametrize("option", ["--dsr1-list", "--dsr1-profile=alpha"])
def test_a_hook_that_does_not_exist_is_one_sentence(suites: Suites, option: str) -> None:
    """Of those that pytest itself lets pass."""
    misspelt = "\n@pytest.hookimpl(optionalhook=True)\ndef pytest_dsr1_metric():\n    return []\n"
    suites.pytester.makeconftest(CONFTEST + misspelt)
    result = suites.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith(
        f"ERROR: the pytest-dsr1 plugin {suites.pytester.path / 'conftest.py'} is broken: it has"
    )
    assert "the hook pytest_dsr1_metric, which does not exist; hooks are pytest_dsr1_checks, " in line


@pytest.mark.parametrize("option", ["--dsr1-list", "--dsr1-plan", "--dsr1-profile=alpha"])
def test_plugins_are_taken_before_scenarios_are_read(
    table: Suites, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    taken: list[str] = []
    register = extensions.register

    def noted(plugin: object, name: str) -> bool:
        added = register(plugin, name)
        taken.extend([name] if added else [])
        return added

    monkeypatch.setattr(extensions, "register", noted)
    assert table.run(option).ret == 0
    assert taken == [str(table.pytester.path / "conftest.py")]


def test_without_a_scenario_a_hook_is_accepted_and_not_called(suites: Suites) -> None:
    suites.pytester.makeconftest("def pytest_dsr1_metrics():\n    raise AssertionError\n")
    suites.pytester.makepyfile(test_other="def test_other(): pass")
    result = suites.run("test_other.py")
    result.assert_outcomes(passed=1)


def test_the_fixtures_are_known_without_a_scenario(suites: Suites) -> None:
    result = suites.run("--fixtures")
    assert result.ret == 0
    for name in ("measurement", "engine", "gpu", "scenario", "preflight", "model", "dataset"):
        result.stdout.fnmatch_lines([f"dsr1_{name} [[]session scope[]] -- *session/fixtures.py:*"])
