"""The options, and what cannot be asked for together."""

from __future__ import annotations

from typing import Literal

import pytest

STORE = "dsr1-references"
"""The folder of references, in rootdir."""


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
        help="change one value of the scenarios for this run, such as engine.max_batch_size=64",
    )
    group.addoption(
        "--dsr1-suites",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of scenarios of your own; they come before the shipped ones (also ini: dsr1_suites)",
    )
    group.addoption(
        "--dsr1-results",
        default=".dsr1",
        metavar="DIR",
        help="where results are saved, as DIR/<profile>/<UTC time>/ (default: .dsr1)",
    )
    group.addoption("--dsr1-replay", metavar="DIR", help="judge a saved result again, without GPU or engine")
    group.addoption(
        "--dsr1-gpu-setup",
        choices=("check", "apply", "off"),
        default="check",
        help="check: compare the GPUs' settings with the published set-up; apply: make them so, and restore "
        "them afterwards; off: do not look (default: check)",
    )
    group.addoption(
        "--dsr1-allow-mismatch",
        action="store_true",
        help="run although the machine differs from the scenario's hardware; kept as a warning",
    )
    group.addoption(
        "--dsr1-gate",
        action="store_true",
        help="compare with the accepted references: run until a loss is shown or excluded",
    )
    group.addoption(
        "--dsr1-reference",
        choices=("record",),
        help="record: keep this run as a candidate; `pytest-dsr1 references accept` makes references of them",
    )
    group.addoption(
        "--dsr1-report",
        action="append",
        default=[],
        metavar="FILE",
        help="write a report in the format of the name's suffix, such as .html for a page; an unknown suffix "
        "lists all there are (may be given several times)",
    )
    parser.addini("dsr1_suites", "folders of scenarios of your own", type="paths", default=[])


def mode(config: pytest.Config) -> Literal["gate", "record"] | None:
    """Whether runs are compared with references, or become such.

    Raises:
        UsageError: both, or a replay: references and gates are about new engine starts.
    """
    gate, record = config.getoption("--dsr1-gate"), config.getoption("--dsr1-reference")
    if gate and record:
        raise pytest.UsageError(
            "--dsr1-gate and --dsr1-reference=record exclude each other: a run that is judged is no reference"
        )
    if config.getoption("--dsr1-replay") and (gate or record):
        asked = "--dsr1-gate" if gate else "--dsr1-reference=record"
        raise pytest.UsageError(f"{asked} needs new engine starts, and --dsr1-replay makes none: drop one")
    return "gate" if gate else record


def refuse_without_selection(config: pytest.Config) -> None:
    """What only a scenario can use must not be passed over in silence.

    Raises:
        UsageError: such an option was given.
    """
    listing = config.getoption("--dsr1-list") or config.getoption("--dsr1-plan")
    if (config.getoption("--dsr1-gate") or config.getoption("--dsr1-reference")) and not listing:
        raise pytest.UsageError(
            "--dsr1-gate and --dsr1-reference are about scenarios, and none is selected: add "
            "--dsr1-profile=NAME"
        )
    if config.getoption("--dsr1-report") and not listing:
        raise pytest.UsageError(
            "--dsr1-report tells of scenarios, and none is selected: add --dsr1-profile=NAME"
        )
    if config.getoption("--dsr1-set") and not listing:
        raise pytest.UsageError("--dsr1-set changes scenarios, and none is selected: add --dsr1-profile=NAME")


def refuse_xdist(config: pytest.Config) -> None:
    """One process measures.

    Raises:
        UsageError: pytest-xdist is to spread the tests.
    """
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        raise pytest.UsageError(
            "dsr1: scenarios are measured by one process, since two measurements on one machine disturb each "
            "other; run them without -n (or with -n0), in a run of their own"
        )
