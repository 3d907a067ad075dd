"""Results on the disk, as runs save them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pytest_dsr1.gate.saved import write_verdicts
from pytest_dsr1.measurement.store import ResultFolder
from pytest_dsr1.verdict.verdict import Verdict
from tests.helpers.paths import ROOT
from tests.helpers.values import measurement, scenario

BEFORE = ROOT / "tests" / "data" / "saved" / "results"
"""The folder of results that an earlier version saved: one run."""
START = datetime(2026, 11, 23, 20, 5, 12, tzinfo=timezone.utc)


def save(
    root: Path,
    minute: int = 0,
    *,
    verdicts: Sequence[Verdict] | None = None,
    name: str = "small",
    **changes: Any,
) -> Path:
    """Save a run of 8 tok/s that began at a minute after ``START``, and return its folder.

    Args:
        root: the folder of results.
        minute: when it began.
        verdicts: those of its targets; None if it was not judged.
        name: the profile.
        changes: other fields of the measurement.
    """
    started = START + timedelta(minutes=minute)
    of = changes.pop("scenario", None) or scenario(name=name)
    with ResultFolder.create(root, of, f"suites/{name}.yaml", started) as folder:
        run = measurement(folder.path, scenario=of, **changes)
        folder.complete(replace(run, started_utc=started.isoformat()))
        if verdicts is not None:
            write_verdicts(folder.path, verdicts)
        return folder.path


def save_unfinished(root: Path, minute: int = 0, *, failed: str = "") -> Path:
    """Save a run that is still in progress, or failed, and return its folder."""
    with ResultFolder.create(
        root, scenario(), "suites/small.yaml", START + timedelta(minutes=minute)
    ) as folder:
        if failed:
            folder.fail(failed)
        return folder.path
