"""The command-line options, and checks that they go together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from pytest_dsr1.text import harmless

if TYPE_CHECKING:
    from pytest_dsr1.scenario.schema.site import Site

STORE = "dsr1-references"
"""The folder of references, in rootdir, unless another is named."""


def add(parser: pytest.Parser) -> None:
    """Add the options; every name begins with ``--dsr1-``."""
    group = parser.getgroup("dsr1", "DeepSeek-R1 performance scenarios")
    group.addoption(
        "--dsr1-profile",
        action="append",
        metavar="NAME",
        help="run the scenarios of these profiles: names or globs, separated by commas",
    )
    group.addoption("--dsr1-list", action="store_true", help="list the profiles and exit")
    group.addoption(
        "--dsr1-plan",
        action="store_true",
        help="print what would run, on what and for how long, as a shell script, and exit",
    )
    group.addoption(
        "--dsr1-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value in the scenarios for this run, such as load.concurrency=64",
    )
    group.addoption(
        "--dsr1-sweep",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        help="run the scenarios once for each value, such as load.concurrency=1,4,16; given again, for each "
        "combination",
    )
    group.addoption(
        "--dsr1-resume",
        action="store_true",
        help="go on with the newest sweep, search or pairs of each scenario where they stopped: finished "
        "runs are not made again",
    )
    group.addoption(
        "--dsr1-suites",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder with your own scenarios, which override shipped ones by name (also ini: dsr1_suites)",
    )
    group.addoption(
        "--dsr1-results",
        default=".dsr1",
        metavar="DIR",
        help="where results are saved, as DIR/<profile>/<UTC time>/ (default: .dsr1)",
    )
    group.addoption(
        "--dsr1-replay",
        action="append",
        default=[],
        metavar="DIR",
        help="judge saved results again, without GPU or engine: a result's folder, a bundle, a profile for "
        "its newest result, a glob, or a folder of results for the newest one of each profile (can be given "
        "more than once)",
    )
    _add_machine(group)
    _add_comparing(group)
    group.addoption(
        "--dsr1-report",
        action="append",
        default=[],
        metavar="FILE",
        help="write a report; the suffix of FILE chooses the format, such as .html for a page; an unknown "
        "suffix lists all formats (can be given more than once)",
    )
    _add_ini(parser)


def _add_machine(group: pytest.OptionGroup) -> None:
    """Add the options on where scenarios run."""
    group.addoption(
        "--dsr1-site",
        metavar="FILE",
        help="how to use the cluster at hand: options of Slurm (also in the variable DSR1_SITE)",
    )
    group.addoption(
        "--dsr1-gpu-setup",
        choices=("check", "apply", "off"),
        default="check",
        help="check: compare the GPUs' settings with the published setup; apply: make them match, and "
        "restore them afterwards; off: do neither (default: check)",
    )
    group.addoption(
        "--dsr1-allow-mismatch",
        action="store_true",
        help="run even if the machine differs from the scenario's hardware; the difference becomes a warning",
    )


def _add_comparing(group: pytest.OptionGroup) -> None:
    """Add the options that compare the machine, or its figures, with what they were."""
    group.addoption(
        "--dsr1-probe",
        action="store_true",
        help="measure what the GPUs can do, for about a minute before and after each run, and compare them "
        "with each other, with the references and with their peak (also in a scenario: probe: true)",
    )
    group.addoption(
        "--dsr1-gate",
        action="store_true",
        help="compare with accepted references: run until a loss is shown or ruled out",
    )
    group.addoption(
        "--dsr1-against",
        action="append",
        default=[],
        metavar="CHANGE",
        help="compare the scenarios (the old side) with a change of them (the new side), in pairs of engine "
        "starts: KEY=VALUE, a YAML file with a mapping of keys to values, or another profile (can be given "
        "more than once)",
    )
    group.addoption(
        "--dsr1-reference",
        choices=("record",),
        help="record: keep this run; `pytest-dsr1 references accept` turns such runs into references",
    )
    group.addoption(
        "--dsr1-store",
        metavar="DIR",
        help=f"the folder of references and recorded runs (also ini: dsr1_store; default: ROOTDIR/{STORE})",
    )


def _add_ini(parser: pytest.Parser) -> None:
    parser.addini(
        "dsr1_unjudged",
        "selected targets and gates that may be skipped or marked xfail: PROFILE::TEST, * for anything",
        type="linelist",
        default=[],
    )
    parser.addini("dsr1_max_points", "the most points of a sweep (default: 200)", default="200")
    parser.addini("dsr1_suites", "folders with your own scenarios", type="paths", default=[])
    parser.addini("dsr1_store", "the folder of references and recorded runs", type="paths", default=[])


def store(config: pytest.Config) -> Path:
    """Return the folder of references: of the option, else of the ini file, else in rootdir.

    Raises:
        UsageError: there is no name, or more than one.
    """
    named: str | None = config.getoption("--dsr1-store")
    if named is not None and not named.strip():
        raise pytest.UsageError("--dsr1-store is empty: expected the folder of references")
    if named is not None:
        return config.invocation_params.dir / named
    found: list[Path] = config.getini("dsr1_store")
    if len(found) > 1:
        raise pytest.UsageError(
            f"dsr1_store in {config.inipath}: expected one folder without spaces, found {len(found)} folders"
        )
    return found[0] if found else config.rootpath / STORE


def site(config: pytest.Config) -> Site:
    """Return the site: of the option, else of the variable, else the defaults.

    Raises:
        UserError: the site file cannot be used.
    """
    from pytest_dsr1.scenario.site import OPTION, load_site, site_file

    return load_site(site_file(config.getoption(OPTION), config.invocation_params.dir, os.environ))


def mode(config: pytest.Config) -> Literal["gate", "record", "pair"] | None:
    """Return whether runs are compared with references, recorded, or compared in pairs; None for neither.

    Raises:
        UsageError: two of these are requested, or an option that needs new runs with a replay.
    """
    gate, record = config.getoption("--dsr1-gate"), config.getoption("--dsr1-reference")
    against = config.getoption("--dsr1-against")
    if against and (gate or record):
        other = "--dsr1-gate" if gate else "--dsr1-reference=record"
        raise pytest.UsageError(
            f"--dsr1-against and {other} cannot be used together: pairs need no references; remove one"
        )
    if gate and record:
        raise pytest.UsageError(
            "--dsr1-gate and --dsr1-reference=record cannot be used together: a gate judges runs but does "
            "not record them; remove one"
        )
    probe = config.getoption("--dsr1-probe")
    running = {
        "--dsr1-probe": probe,
        "--dsr1-resume": config.getoption("--dsr1-resume"),
        "--dsr1-gate": gate,
        "--dsr1-reference=record": record,
        "--dsr1-against": against,
    }
    if config.getoption("--dsr1-resume") and (gate or record):
        other = "--dsr1-gate" if gate else "--dsr1-reference=record"
        raise pytest.UsageError(
            f"--dsr1-resume and {other} cannot be used together: a gate and a recording need new engine "
            "starts; remove one"
        )
    for option, given in running.items():
        if given and config.getoption("--dsr1-replay"):
            raise pytest.UsageError(f"{option} needs new runs, but --dsr1-replay makes none: remove one")
    return "pair" if against else "gate" if gate else record


def command(config: pytest.Config, profile: str, *more: str) -> str:
    """Return the command that selects a profile with the values that this session gives it, without secrets.

    Args:
        config: of pytest.
        profile: its name.
        more: what else the command has.
    """
    from pytest_dsr1.masking import masked_setting
    from pytest_dsr1.text import shell_command

    suites = [f"--dsr1-suites={each}" for each in config.getoption("--dsr1-suites")]
    values = [
        f"{option}={masked_setting(each)}"
        for option in ("--dsr1-sweep", "--dsr1-set", "--dsr1-against")
        for each in config.getoption(option)
    ]
    words = ["pytest", f"--dsr1-profile={profile}", *more, *suites, *values]
    return shell_command(words)


def may_go_unjudged(config: pytest.Config) -> Callable[[str], bool]:
    """Return the rule of ``dsr1_unjudged``: whether it names a test, such as ``alpha::target[average_ttft]``.

    Only ``*`` is a wildcard, because the names of tests have brackets.

    Raises:
        UsageError: an entry has no profile or no test.
    """
    patterns: list[str] = config.getini("dsr1_unjudged")
    for pattern in patterns:
        if not all(pattern.partition("::")):
            raise pytest.UsageError(
                "ini option dsr1_unjudged: expected PROFILE::TEST, such as 'alpha::target[average_ttft]' or "
                f"'alpha::*', found '{harmless(pattern)}'"
            )
    rules = [re.compile(".*".join(map(re.escape, pattern.split("*")))) for pattern in patterns]
    return lambda name: any(rule.fullmatch(name) for rule in rules)


def refuse_without_selection(config: pytest.Config) -> None:
    """Refuse options that need a scenario, if none is selected.

    Raises:
        UsageError: such an option was given.
    """
    listing = config.getoption("--dsr1-list") or config.getoption("--dsr1-plan")
    if (config.getoption("--dsr1-gate") or config.getoption("--dsr1-reference")) and not listing:
        raise pytest.UsageError(
            "--dsr1-gate and --dsr1-reference need a scenario, but none is selected: add --dsr1-profile=NAME"
        )
    if config.getoption("--dsr1-report") and not listing:
        raise pytest.UsageError(
            "--dsr1-report needs a scenario, but none is selected: add --dsr1-profile=NAME"
        )
    if config.getoption("--dsr1-probe") and not listing:
        raise pytest.UsageError(
            "--dsr1-probe needs a scenario, but none is selected: add --dsr1-profile=NAME; without one: "
            "pytest-dsr1 probe"
        )
    for option in ("--dsr1-set", "--dsr1-sweep", "--dsr1-resume", "--dsr1-against"):
        if config.getoption(option) and not listing:
            message = f"{option} needs a scenario, but none is selected: add --dsr1-profile=NAME"
            raise pytest.UsageError(message)


def refuse_empty(config: pytest.Config) -> None:
    """Refuse an option without a value: in a pipeline, its variable is not set.

    Raises:
        UsageError: the value of such an option is empty.
    """
    for option in (
        "--dsr1-replay",
        "--dsr1-results",
        "--dsr1-site",
        "--dsr1-suites",
        "--dsr1-report",
        "--dsr1-against",
    ):
        given = config.getoption(option)
        if not all(map(str.strip, [given] if isinstance(given, str) else given or ())):
            raise pytest.UsageError(f"{option} is empty: give it a value, or remove it")


def refuse_xdist(config: pytest.Config) -> None:
    """Refuse pytest-xdist, before it starts a process: one process measures.

    Raises:
        UsageError: pytest-xdist would spread the tests.
    """
    asked = {name: config.getoption(name, None) for name in ("numprocesses", "tx", "dist", "looponfail")}
    if asked["dist"] == "no":
        asked["dist"] = None
    if any(asked.values()) or hasattr(config, "workerinput"):
        raise pytest.UsageError(
            "dsr1: one process measures all scenarios, because measurements on one machine disturb each "
            "other; run them separately from other tests, with `-n0` and without --tx, --dist and "
            "--looponfail"
        )
