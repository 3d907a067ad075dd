"""What a conftest.py adds by our hooks, and what is said of one that is broken."""

from __future__ import annotations

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.hookspecs import pytest_dsr1_reports
from tests.helpers.suites import CONFTEST, Suites

TABLE = """
from pytest_dsr1.reporting.formats import ReportFormat

def write(path, report):
    rows = [
        f"{case.scenario.name},{verdict.metric},{verdict.measured},{verdict.word.value}"
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
