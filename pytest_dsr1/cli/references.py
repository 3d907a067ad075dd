"""The commands ``pytest-dsr1 references``: show, accept and export the references of gates."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dsr1.cli.git import git
from pytest_dsr1.session.options import STORE
from pytest_dsr1.text import columns, say

if TYPE_CHECKING:
    from pytest_dsr1.gate.references import ReferenceRun, References

SUITES_HELP = "a folder with your own scenarios, in addition to those of pytest's ini option dsr1_suites"
STORE_HELP = f"default: as pytest in this folder: its ini option dsr1_store, else ROOTDIR/{STORE}"
_HEADS = (
    "profile",
    "metric",
    "runs",
    "days",
    "mean",
    "noise",
    "requests",
    "accepted",
    "age",
    "waiting",
    "by: why",
)
_CONDITIONS = ("sm_clock_mhz", "power_w", "temperature_c", "throttled_s")
"""The conditions of the GPUs during a run; empty if unknown."""
_COLUMNS = (
    "run",
    "at",
    "node",
    "day",
    "metric",
    "value",
    "se_percent",
    "window_s",
    "startup_s",
    "state",
    *_CONDITIONS,
)


def add(commands: Any) -> None:
    """Add the commands to those of ``pytest-dsr1``."""
    references = commands.add_parser(
        "references",
        help="show, accept or export the reference runs of performance gates",
        description="The reference runs that `pytest --dsr1-gate` compares with. See "
        "`pytest-dsr1 docs gate#references`.",
    )
    actions = references.add_subparsers(metavar="ACTION", required=True)

    show = actions.add_parser("show", help="show the references, and how many recorded runs are not accepted")
    show.add_argument("profile", nargs="?", help="a profile, to list its runs; by default all profiles")
    show.set_defaults(run=_show)

    accept = actions.add_parser(
        "accept",
        help="use a profile's recorded runs as its references",
        description="Turn a profile's runs recorded with the newest software into references. Commit the "
        "file that this writes, so that the references are reviewed.",
    )
    accept.add_argument("profile", help="the profile's name, or a scenario file")
    accept.add_argument("--reason", required=True, help="why they are accepted, such as 'TensorRT-LLM 1.2.1'")
    accept.add_argument("--by", help="who accepts them; by default git's user.name, else the login name")
    accept.set_defaults(run=_accept)

    export = actions.add_parser(
        "export",
        help="print the runs of a profile as CSV",
        description="Print accepted and other recorded runs of a profile as CSV, for pandas or Otava.",
    )
    export.add_argument("profile", help="the profile's name, or a scenario file")
    export.set_defaults(run=_export)

    for parser in (accept, export):
        parser.add_argument("--suites", action="append", default=[], help=SUITES_HELP)
        parser.add_argument("--set", action="append", default=[], help="change a value: KEY=VALUE")
        parser.add_argument(
            "--sweep",
            action="append",
            default=[],
            help="of a point that --dsr1-sweep has made: KEY=VALUE,VALUE",
        )
    for parser in (show, accept, export):
        parser.set_defaults(run=_naming_the_store(parser.get_default("run")))
        parser.add_argument("--store", type=Path, help=f"the folder of references ({STORE_HELP})")


def _naming_the_store(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return the command, with the store of ``--store`` in each command that its errors advise."""

    def named(options: argparse.Namespace) -> int:
        from pytest_dsr1.errors import Dsr1Error, UserError

        try:
            return run(options)
        except Dsr1Error as error:
            raise UserError(_advice(options, str(error))) from None

    return named


def _advice(options: argparse.Namespace, text: str) -> str:
    from pytest_dsr1.gate.references import with_store, with_sweep

    named = with_store(text, None if options.store is None else str(options.store))
    return with_sweep(named, getattr(options, "sweep", []))


def _store(options: argparse.Namespace) -> Path:
    """Return the folder of references.

    Raises:
        UserError: a folder given with ``--store`` cannot be found.
    """
    from pytest_dsr1.errors import UserError

    named: Path | None = options.store
    if named is None:
        from pytest_dsr1.cli.suites import store

        return store()
    try:
        named.stat()
    except OSError as error:
        raise UserError(
            f"--store {named}: {error.strerror} (relative to {Path.cwd()}); expected the folder of recorded "
            "runs; omit --store to use that of pytest here"
        ) from None
    return named


def _show(options: argparse.Namespace) -> int:
    store = _store(options)
    return _show_one(store, options.profile) if options.profile else _show_all(store)


def _show_all(store: Path) -> int:
    from pytest_dsr1.errors import NoReferenceError, ReferencesError
    from pytest_dsr1.gate import recordings
    from pytest_dsr1.gate.plan import gates_of
    from pytest_dsr1.gate.recordings import listed
    from pytest_dsr1.gate.reference_file import read

    accepted = {one.name.removesuffix(".yaml") for one in listed(store) if one.name.endswith(".yaml")}
    recorded = {one.name for one in listed(store / "candidates") if one.is_dir()}
    if not accepted | recorded:
        say(f"{store}: there are no references; record runs with --dsr1-reference=record")
        return 0
    rows: list[tuple[str, ...]] = []
    problems: list[str] = []
    for profile in sorted(accepted | recorded):
        try:
            found = read(store, profile, _now())
        except NoReferenceError:
            rows.append((profile, *["-"] * 8, f"{len(recordings.names(store, profile))}", ""))
        except ReferencesError as error:
            problems.append(str(error))
        else:
            rows.append(_summary(store, found))
    if rows:
        say("\n".join(columns([_HEADS, *rows])))
        say(_shared_by(gates_of(store), store))
    for problem in problems:
        say(problem, error=True)
    return 1 if problems else 0


def _shared_by(gates: int, store: Path) -> str:
    """Return the error budget left for each gate; files of deleted scenarios waste it."""
    from pytest_dsr1.gate.decision import alpha

    have = "profile has" if gates == 1 else "profiles have"
    return (
        f"{gates} {have} references that a gate can use. All gates of a suite share one error budget, so "
        f"each is planned with a false-alarm rate of {alpha(gates) * 100:.2g}%. References of deleted "
        f"scenarios use up this budget too: `git rm` them in {store}."
    )


def _summary(store: Path, found: References) -> tuple[str, ...]:
    from pytest_dsr1.gate.references import by_node

    return (
        found.profile,
        found.metric,
        by_node(found.nodes),
        f"{found.days}",
        _mean(found),
        _noise(found),
        f"{found.requests}",
        f"{found.accepted.at:%Y-%m-%d}",
        f"{found.age_days(_now())} d",
        f"{len(_waiting(store, found))}",
        f"{found.accepted.by}: {found.accepted.reason}",
    )


def _show_one(store: Path, profile: str) -> int:
    from pytest_dsr1.errors import NoReferenceError
    from pytest_dsr1.gate import recordings
    from pytest_dsr1.gate.accuracy.judge import about
    from pytest_dsr1.gate.comparability import short
    from pytest_dsr1.gate.reference_file import read
    from pytest_dsr1.gate.references import how_to_get_more

    try:
        found = read(store, profile, _now())
    except NoReferenceError:
        waiting = len(recordings.names(store, profile))
        say(
            f"{profile}: no references are accepted in {store}; {waiting} recorded runs wait for that; "
            f"{how_to_get_more(profile)}"
        )
        return 0
    accepted, mean = found.accepted, found.mean
    commit = f", commit {accepted.commit}" if accepted.commit else ""
    say(f"{found.profile}: {found.metric}, {found.better} is better")
    say(f"accepted {accepted.at:%Y-%m-%d %H:%M} UTC by {accepted.by}{commit}: {accepted.reason}")
    say(f"mean {_mean(found)}, noise {_noise(found)}, over the first {found.requests} requests")
    rows = [("began (UTC)", "node", found.unit, "vs. mean", "standard error", "window", "start-up")]
    rows += [
        (
            f"{run.at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}",
            short(run.node),
            f"{run.value:g}",
            f"{(run.value / mean - 1) * 100:+.2f}%",
            f"{run.se_percent:.2f}%",
            f"{run.window_s:.1f} s",
            f"{run.startup_s:.1f} s",
        )
        for run in found.runs
    ]
    say("\n".join(columns(rows)))
    for line in _probed(found):
        say(line)
    for node in found.nodes:
        if short(node) != node:
            say(f"{short(node)} stands for {node}")
    for line in about(found, store):
        say(line)
    say(f"{len(_waiting(store, found))} other recorded runs are not accepted")
    return 0


def _probed(found: References) -> Iterator[str]:
    """Yield what the probes before the runs of each node found."""
    from pytest_dsr1.gate.comparability import short
    from pytest_dsr1.machine.probe.values import KINDS, figure

    for node, count in found.nodes.items():
        probes = {name: values for name, values in found.probes_on(node).items() if name in KINDS}
        if probes:
            runs = sum(run.probes is not None for run in found.runs if run.node == node)
            rows = [
                ("", KINDS[name].label, "  ".join(map(figure, values)), KINDS[name].unit)
                for name, values in probes.items()
            ]
            yield f"probes of {short(node)} before {runs} of its {count} runs, medians:"
            yield "\n".join(columns(rows))


def _accept(options: argparse.Namespace) -> int:
    from pytest_dsr1.cli.suites import folders
    from pytest_dsr1.errors import Dsr1Error
    from pytest_dsr1.gate.acceptance import accept
    from pytest_dsr1.gate.accuracy import reference_answers
    from pytest_dsr1.gate.plan import gate_plan
    from pytest_dsr1.gate.reference_file import path_of
    from pytest_dsr1.gate.references import by_node
    from pytest_dsr1.scenario.named import load_named
    from pytest_dsr1.storage.filelock import user

    scenario = load_named(options.profile, folders(options.suites), options.set, options.sweep)
    store = _store(options)
    folder = store if store.is_dir() else Path.cwd()
    by = options.by or git(folder, "config", "user.name") or user()
    accepted, notes = accept(
        store, scenario, reason=options.reason, by=by, now=_now(), commit=git(folder, "rev-parse", "HEAD")
    )
    say(
        f"{path_of(store, scenario.name)}: {len(accepted.runs)} runs accepted ({by_node(accepted.nodes)}), "
        f"mean {_mean(accepted)}, noise {_noise(accepted)}, over the first {accepted.requests} requests"
    )
    for note in notes:
        say(_advice(options, note))
    try:
        say(gate_plan(store, accepted, scenario, None, _now()).runs_and_cost)
    except Dsr1Error as error:
        say(_advice(options, f"warning: there will be no gate: {error}"))
    answers = reference_answers.path_of(store, scenario.name)
    with_answers = f"this file and {answers}" if answers.exists() else "this file"
    say(f"commit {with_answers}, so that the references are reviewed")
    return 0


def _export(options: argparse.Namespace) -> int:
    from pytest_dsr1.cli.suites import folders
    from pytest_dsr1.errors import NoReferenceError
    from pytest_dsr1.gate import recordings
    from pytest_dsr1.gate.acceptance import reference_run
    from pytest_dsr1.gate.reference_file import load
    from pytest_dsr1.scenario.named import load_named
    from pytest_dsr1.steady.figure import NoSteadyFigureError, steady_figure, warmup_of
    from pytest_dsr1.study.eligibility import gated_metric

    scenario, store = (
        load_named(options.profile, folders(options.suites), options.set, options.sweep),
        _store(options),
    )
    metric, warmup_requests, requests = gated_metric(scenario), warmup_of(scenario), None
    rows: list[tuple[ReferenceRun, str]] = []
    try:
        accepted = load(store, scenario, _now())
    except NoReferenceError:
        pass
    else:
        warmup_requests, requests = accepted.warmup_requests, accepted.requests
        rows += [(run, "accepted") for run in accepted.runs]
    names = {run.recording for run, _ in rows}
    found, unread = recordings.read(store, scenario.name)
    problems = [*unread]
    for run in found:
        if run.name not in names:
            try:
                figure = steady_figure(run.trace, metric, warmup_requests=warmup_requests, requests=requests)
            except NoSteadyFigureError as error:
                problems.append(f"{run.name}: {error}")
            else:
                rows.append((reference_run(run, figure), "waiting"))
    # Data for a file or a program, so it is not made harmless.
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, state in sorted(rows, key=lambda one: (one[0].at, one[0].recording)):
        figures = (row.value, row.se_percent, row.window_s, row.startup_s)
        gpus = (getattr(row.gpus, name, None) for name in _CONDITIONS)
        writer.writerow(
            [row.recording, row.at.isoformat(), row.node, row.day, metric, *figures, state, *gpus]
        )
    for problem in problems:
        say(problem, error=True)
    return 1 if problems else 0


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _waiting(store: Path, found: References) -> list[str]:
    from pytest_dsr1.gate import recordings

    accepted = {run.recording for run in found.runs}
    return [name for name in recordings.names(store, found.profile) if name not in accepted]


def _mean(found: References) -> str:
    from pytest_dsr1.text import number

    return f"{number(found.mean)} {found.unit}"


def _noise(found: References) -> str:
    return "unknown" if found.noise_percent is None else f"{found.noise_percent:.2f}%"
