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


@pytest.mark.parametrize("earlier", [False, True])
def test_a_report_format_that_writes_no_file(suites: Suites, earlier: bool) -> None:
    suites.pytester.makeconftest(CONFTEST + TABLE.replace('path.write_text("\\n".join(rows))', "return"))
    if earlier:
        (suites.pytester.path / "report.csv").write_text("of an earlier run", encoding="utf-8")
    result = suites.run("--dsr1-profile=alpha", "--dsr1-report=report.csv")
    message = "dsr1: report.csv cannot be written: *conftest.py is broken: write() for .csv reports *no file*"
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("dsr1: wrote report.csv")


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
            "yield ReportFormat('.csv', 7, print)",
            "conftest.py is broken: its report format .csv has the what 7, expected a text",
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
        {act}
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
        result = super().run(job, observer)
        return call("run", result)
    def script(self, job):
        return call("script", "true")

class Pool:
    def __bool__(self):
        return call("bool", False)
    def fits(self, scenario):
        return call("fits", False)
    def end(self):
        call("end")

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

    def run(
        failing: str, *options: str, act: str = 'raise ValueError("out of order")'
    ) -> tuple[pytest.RunResult, str]:
        suites.pytester.makeconftest(ENGINE.replace("{failing}", failing).replace("{act}", act))
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
        ("bool", "__bool__ of the pool of its engine acme", (), 10),
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


def test_a_pool_that_cannot_end_is_one_sentence(
    acme: Callable[..., tuple[pytest.RunResult, str]],
) -> None:
    result, printed = acme("end")
    assert (
        "the pytest-dsr1 plugin CONFTEST is broken: end of the pool of its engine acme failed: "
        "ValueError('out of order')"
    ) in printed
    assert result.ret == 10
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("failing", "act", "what", "options", "status"),
    [
        ("slots", "return '8'", "slots of its engine acme returned '8', expected int | None", (), 4),
        ("streams", "return None", "streams of its engine acme returned None, expected bool", (), 4),
        ("rule", "return 7", 'the rule "It works." of its engine failed: TypeError(', (), 4),
        ("rule", "return 'ab'", "the rule \"It works.\" of its engine returned 'a', expected tuple", (), 4),
        (
            "rule",
            "return [('a', 1)]",
            "the rule \"It works.\" of its engine returned ('a', 1), expected a key and a sentence",
            (),
            4,
        ),
        (
            "software",
            "return ['old']",
            "software of its engine acme returned 'old', expected Finding",
            (),
            10,
        ),
        (
            "create",
            "return None",
            "create of its engine acme returned None, expected an object with the method run",
            (),
            10,
        ),
        (
            "pool",
            "return 'x'",
            "pool of its engine acme returned 'x', expected an object with the method fits",
            (),
            10,
        ),
        ("run", "return None", "run of its engine acme returned None, expected EngineResult", (), 10),
        (
            "run",
            "return __import__('dataclasses').replace(value, records=['x'])",
            "run of its engine acme returned the records ['x'], expected tuple[RequestRecord, ...]",
            (),
            10,
        ),
        (
            "run",
            "return __import__('dataclasses').replace(value, report={'average_ttft': float('nan')})",
            "run of its engine acme returned the average_ttft nan, expected a finite number above 0",
            (),
            10,
        ),
        (
            "run",
            "return __import__('dataclasses').replace(value, records=tuple("
            "__import__('dataclasses').replace(one, last_token_s=None) for one in value.records))",
            "run of its engine acme returned the last_token_s of a record None, expected float",
            (),
            10,
        ),
        (
            "run",
            "return __import__('dataclasses').replace(value, answers=("
            "__import__('pytest_dsr1.records').records.Answer('a/0', text=7),))",
            "run of its engine acme returned the text of an answer 7, expected str | None",
            (),
            10,
        ),
        ("script", "return 7", "script of its engine acme returned 7, expected a text", ("--dsr1-plan",), 4),
    ],
)
def test_an_engine_that_returns_something_else_is_one_sentence(
    acme: Callable[..., tuple[pytest.RunResult, str]],
    failing: str,
    act: str,
    what: str,
    options: tuple[str, ...],
    status: int,
) -> None:
    result, printed = acme(failing, *options, act=act)
    assert f"the pytest-dsr1 plugin CONFTEST is broken: {what}" in printed
    assert result.ret == status
    assert "INTERNALERROR" not in printed
    assert "Traceback" not in printed


def test_an_engine_of_a_conftest_runs(acme: Callable[..., tuple[pytest.RunResult, str]]) -> None:
    result, printed = acme("nothing")
    assert result.ret == 0, printed


@pytest.mark.parametrize(
    ("function", "status", "line"),
    [
        (
            "write",
            10,
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


@pytest.mark.parametrize(
    "options",
    [
        ("--dsr1-profile=alpha", "--dsr1-report=report.csv"),
        ("-p", "no:dsr1", "test_other.py"),
        ("test_other.py",),
    ],
)
def test_an_optional_hook_also_works_where_the_plugin_is_off(
    suites: Suites, options: tuple[str, ...]
) -> None:
    """As the page says: the hook is optional, and imports only inside."""
    suites.pytester.makepyfile(test_other="def test_other(): pass")
    suites.pytester.makeconftest(
        CONFTEST
        + """
@pytest.hookimpl(optionalhook=True)
def pytest_dsr1_reports():
    from pytest_dsr1.reporting.formats import ReportFormat
    yield ReportFormat(".csv", "a table", lambda path, report: path.write_text("written"))
"""
    )
    assert suites.run_apart(*options).ret == 0
    assert (suites.pytester.path / "report.csv").exists() == ("--dsr1-report=report.csv" in options)


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


IMPORTS = """
from dataclasses import replace
from typing import Literal
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.machine.preflight.check import Check, check
from pytest_dsr1.findings import Finding
from pytest_dsr1.metrics.registry import Metric, Metrics
from pytest_dsr1.reporting.formats import ReportFormat
from pytest_dsr1.scenario.schema.engine import EngineSettings

class Other(EngineSettings):
    '''An engine that never runs.'''
    type: Literal["other"]
    '''Other.'''

class Ours(EngineSettings):
    '''An engine with a name of ours.'''
    type: Literal["transformers"]
    '''Ours.'''

def metric(name):
    return Metric(name, name, "s", "lower", "none", "here", "mean", lambda inputs: 1.0)
"""

OTHERS = {
    "metrics": ("metric other", "metric('other')"),
    "engines": ("engine other", "EngineSpec(settings=Other, create=print)"),
    "checks": ("check other", "Check('other', '', 'nothing', lambda look: [])"),
    "clues": ("clue other", "Clue('other', '', '', lambda measurement: None)"),
    "reports": ("report format .other", "ReportFormat('.other', 'a table', print)"),
}
"""By hook, a value and its name."""

OURS = {
    "metrics": ("metric average_ttft", "metric('average_ttft')"),
    "engines": ("engine transformers", "EngineSpec(settings=Ours, create=print)"),
    "checks": ("check disk", "Check('disk', '', 'nothing', lambda look: [])"),
    "clues": ("clue engine-queue", "Clue('engine-queue', '', '', lambda measurement: None)"),
    "reports": ("report format .md", "ReportFormat('.md', 'a table', print)"),
}
"""By hook, a value with the name of one of ours, and that name."""

KINDS = {
    "metrics": "Metric",
    "engines": "EngineSpec",
    "checks": "Check",
    "clues": "Clue",
    "reports": "ReportFormat",
}

RUNS = ["--dsr1-list", "--dsr1-profile=alpha"]


def refused(suites: Suites, source: str, *options: str) -> str:
    """Run with this conftest.py; returns the one line that pytest prints, without paths."""
    suites.pytester.makeconftest(CONFTEST + IMPORTS + source)
    result = suites.run(*(options or ("--dsr1-profile=alpha",)))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert suites.engine_runs == []
    (line,) = [line for line in result.errlines if line]
    return line.replace(f"{suites.pytester.path}/", "")


@pytest.mark.parametrize("option", RUNS)
@pytest.mark.parametrize("hook", OURS)
def test_a_name_of_ours_is_refused(suites: Suites, hook: str, option: str) -> None:
    name, value = OURS[hook]
    assert refused(suites, f"def pytest_dsr1_{hook}():\n    return [{value}]\n", option) == (
        f"ERROR: the {name} is declared twice, by pytest-dsr1 and by the plugin conftest.py: rename or "
        "remove one of them"
    )


@pytest.mark.parametrize("option", RUNS)
@pytest.mark.parametrize("hook", OTHERS)
def test_a_name_of_another_plugin_is_refused(suites: Suites, hook: str, option: str) -> None:
    name, value = OTHERS[hook]
    source = f"def pytest_dsr1_{hook}():\n    return [{value}]\n"
    suites.pytester.makepyfile(acme=IMPORTS + source)
    suites.pytester.syspathinsert()
    assert refused(suites, source, "-p", "acme", option) == (
        f"ERROR: the {name} is declared twice, by the plugin acme and by the plugin conftest.py: rename or "
        "remove one of them"
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise ValueError('no license')", " failed: ValueError('no license')"),
        ("return None", " returned None, expected a list of KIND"),
        ("return 'fast'", " returned 'fast', expected a list of KIND"),
        ("return [1]", " returned 1, expected KIND"),
        ("yield VALUE\n    raise ValueError('half-way')", " failed: ValueError('half-way')"),
        ("return VALUE", " returned "),
    ],
)
@pytest.mark.parametrize("hook", OTHERS)
def test_a_hook_that_lists_nothing_useful_is_refused(suites: Suites, hook: str, body: str, what: str) -> None:
    body = body.replace("VALUE", OTHERS[hook][1])
    line = refused(suites, f"def pytest_dsr1_{hook}():\n    {body}\n")
    start = f"ERROR: the pytest-dsr1 plugin conftest.py is broken: pytest_dsr1_{hook}{what}"
    assert line.startswith(start.replace("KIND", KINDS[hook]))


@pytest.mark.parametrize("option", [*RUNS, "--collect-only"])
@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("def pytest_dsr1_clues(moon)", "pytest_dsr1_clues has the argument moon, expected no argument"),
        (
            "def pytest_dsr1_clue()",
            "it has the hook pytest_dsr1_clue, which does not exist; hooks are pytest_dsr1_checks, "
            "pytest_dsr1_clues, pytest_dsr1_engines, pytest_dsr1_metrics, pytest_dsr1_reports",
        ),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused(suites: Suites, head: str, why: str, option: str) -> None:
    line = refused(suites, f"{head}:\n    return []\n", option)
    assert line == f"ERROR: the pytest-dsr1 plugin conftest.py is broken: {why}"


@pytest.mark.parametrize(
    ("hook", "value", "why"),
    [
        (
            "metrics",
            "replace(metric('odd'), better='up')",
            "its metric odd has the better 'up', expected 'higher' or 'lower' or 'neither'",
        ),
        ("metrics", "replace(metric('odd'), unit=None)", "its metric odd has the unit None, expected a text"),
        ("checks", "Check(7, '', 'nothing', print)", "its check 7 has the name 7, expected a text"),
        (
            "checks",
            "Check('odd', '', 'moon', print)",
            "its check odd has the needs 'moon', expected 'nothing' or 'driver' or 'gpus'",
        ),
        ("clues", "Clue('odd', '', None, print)", "its clue odd has the page None, expected a text"),
        (
            "engines",
            "EngineSpec(settings=7, create=print)",
            "settings of an engine: expected a class of EngineSettings, found 7",
        ),
    ],
)
def test_a_value_with_a_wrong_part_is_refused(suites: Suites, hook: str, value: str, why: str) -> None:
    line = refused(suites, f"def pytest_dsr1_{hook}():\n    return [{value}]\n")
    assert line == f"ERROR: the pytest-dsr1 plugin conftest.py is broken: {why}"


def ran(suites: Suites, source: str) -> tuple[pytest.RunResult, str]:
    """Run with this conftest.py; returns also all that is printed, without line breaks and paths."""
    suites.write("beta", target=1000.0)
    suites.pytester.makeconftest(CONFTEST + IMPORTS + source)
    result = suites.run("--dsr1-profile=beta")
    printed = " ".join(" ".join((*result.outlines, *result.errlines)).split())
    assert "INTERNALERROR" not in printed
    assert "Traceback" not in printed
    return result, printed.replace(f"{suites.pytester.path}/", "")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise ValueError('no license')", " failed: ValueError('no license')"),
        ("return 7", " returned 7, expected a list of Finding"),
        ("return None", " returned None, expected a list of Finding"),
        ("return 'fast'", " returned 'fast', expected a list of Finding"),
        ("yield 'hot'", " returned 'hot', expected Finding"),
        (
            "yield Finding('ok', 'a', 'b')\n    raise ValueError('half-way')",
            " failed: ValueError('half-way')",
        ),
        (
            "yield Finding('bad', 'a', 'b')",
            " has the severity 'bad', expected 'mismatch' or 'warning' or 'ok'",
        ),
        ("yield Finding('ok', None, 'b')", " has the subject None, expected a text"),
        ("return [].moon", " failed: AttributeError("),
    ],
)
def test_a_check_that_finds_something_else_is_one_sentence(suites: Suites, body: str, what: str) -> None:
    result, printed = ran(
        suites,
        f"@check()\ndef odd(look):\n    {body}\n\ndef pytest_dsr1_checks():\n    return [odd]\n",
    )
    assert result.ret == 10
    of = "a finding of its" if " has the " in what else "its"
    assert f"the pytest-dsr1 plugin conftest.py is broken: {of} check odd{what}" in printed


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise ValueError('no license')", "failed: ValueError('no license')"),
        ("return 7", "returned 7, expected text or None"),
        ("return ['slow']", "returned ['slow'], expected text or None"),
        ("yield 'slow'", "returned <generator object"),
    ],
)
def test_a_clue_that_finds_something_else_is_one_sentence(suites: Suites, body: str, what: str) -> None:
    source = (
        f"@clue('odd')\ndef odd(measurement):\n    {body}\n\ndef pytest_dsr1_clues():\n    return [odd]\n"
    )
    result, printed = ran(suites, source)
    assert result.ret == 1
    assert f"the pytest-dsr1 plugin conftest.py is broken: its clue odd {what}" in printed


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise ValueError('no license')", "failed: ValueError('no license')"),
        ("return float('nan')", "returned nan, expected a finite number above 0 or None"),
        ("return float('inf')", "returned inf, expected a finite number above 0 or None"),
        ("return -1", "returned -1, expected a finite number above 0 or None"),
        ("return '12'", "returned '12', expected a finite number above 0 or None"),
        ("yield 1", "returned <generator object"),
    ],
)
@pytest.mark.parametrize("targeted", [False, True])
def test_a_metric_that_is_not_a_measurement_is_one_sentence(
    suites: Suites, body: str, what: str, targeted: bool
) -> None:
    suites.write("alpha", extra="  - metric: odd\n    value: 1\n" if targeted else "")
    source = f"""
def odd(inputs):
    {body}

def pytest_dsr1_metrics():
    return [replace(metric("odd"), compute=odd)]
"""
    suites.pytester.makeconftest(CONFTEST + IMPORTS + source)
    result = suites.run("--dsr1-profile=alpha")
    printed = " ".join(" ".join(result.outlines).split()).replace(f"{suites.pytester.path}/", "")
    assert result.ret == (10 if targeted else 0)
    assert f"the pytest-dsr1 plugin conftest.py is broken: its metric odd {what}" in printed
    assert "Traceback" not in printed


def test_a_report_format_that_lacks_something_else_is_one_sentence(suites: Suites) -> None:
    source = """
def pytest_dsr1_reports():
    return [ReportFormat(".csv", "a table", print, lambda: 7)]
"""
    assert refused(suites, source, "--dsr1-profile=alpha", "--dsr1-report=a.csv") == (
        "ERROR: the pytest-dsr1 plugin conftest.py is broken: missing() for .csv reports returned 7, "
        "expected text or None"
    )
