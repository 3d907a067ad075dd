"""History: the valid results of earlier runs in a folder of results, without their requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_dsr1.gate import comparability
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import MEASUREMENT, SPREAD, counted_at_the_end
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.storage.documents import CHANGED, DocumentError
from pytest_dsr1.storage.files import entries


@dataclass(frozen=True, slots=True)
class PastRun:
    """One saved run with a valid result.

    Attributes:
        profile: the scenario's name.
        at: when it began.
        facts: the fingerprint.
        metrics: by name, in the metric's unit.
        folder: where it is saved.
        stopped: whether it was stopped before all of its requests were sent.
    """

    profile: str
    at: datetime
    facts: Mapping[str, FactValue]
    metrics: Mapping[str, float]
    folder: Path
    stopped: bool

    @property
    def node(self) -> str:
        """The machine, as :func:`~pytest_dsr1.gate.comparability.node` names it."""
        return comparability.node(self.facts)


@dataclass(frozen=True, slots=True)
class History:
    """Earlier runs in order of time, and the files and folders that cannot be read, each with the reason."""

    runs: tuple[PastRun, ...] = ()
    unreadable: tuple[str, ...] = ()


NO_HISTORY = History()


def comparable_runs(past: History, measurement: Measurement) -> list[PastRun]:
    """Return other runs of the same profile and machine that a gate would compare with this run."""
    facts, scenario = measurement.fingerprint.facts, measurement.scenario
    node = comparability.node(facts)
    return [
        run
        for run in past.runs
        if run.profile == scenario.name
        and run.folder != measurement.folder
        and run.node == node
        and not comparability.differences(run.facts, facts, scenario.gate.under_test)
    ]


def history(results: Path) -> History:
    """Return the runs saved below a folder of results.

    Runs that are in progress, that failed, or that ran on a wrong or unfit machine are left out.
    """
    runs: list[PastRun] = []
    unreadable: list[str] = []

    def folders(of: Path) -> Iterator[Path]:
        try:
            yield from (Path(entry.path) for entry in entries(of) if entry.is_dir())
        except OSError as error:
            unreadable.append(f"{of}: cannot be listed: {error.strerror}")

    for folder in (run for profile in folders(results) for run in folders(profile)):
        path = folder / "measurement.json"
        try:
            run = _run(MEASUREMENT.read_json(path), folder)
        except FileNotFoundError:
            continue
        except DocumentError as error:
            unreadable.append(f"{path}: {error}")
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable.append(f"{path}: it does not contain a measurement; {CHANGED}")
        else:
            if run is not None:
                runs.append(run)
    return History(tuple(sorted(runs, key=lambda run: run.at)), tuple(unreadable))


def _run(document: Any, folder: Path) -> PastRun | None:
    if document["state"] != "complete":
        return None
    saved = document["measurement"]
    if any(finding["severity"] == "mismatch" for finding in saved["findings"]):
        return None
    metrics = {name: float(metric["value"]) for name, metric in saved["metrics"].items() if name in METRICS}
    if counted_at_the_end(saved.get("definitions", 1), metrics):
        del metrics[SPREAD]  # its requests are not read here, so its value is unknown
    at, facts = datetime.fromisoformat(saved["started_utc"]), dict(saved["fingerprint"]["facts"])
    if at.tzinfo is None or not all(map(_is_fact, facts.values())):
        raise ValueError(folder)
    return PastRun(
        profile=str(document["profile"]),
        at=at,
        facts=facts,
        metrics=metrics,
        folder=folder,
        stopped=bool(saved["result"].get("stopped", False)),
    )


def _is_fact(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return value is None or isinstance(value, str | int | float)
