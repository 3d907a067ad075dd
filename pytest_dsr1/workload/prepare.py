"""The workload of a scenario: its own file after a check, or a synthetic one from the cache.

A cached dataset is the file ``datasets/synthetic-KEY.jsonl`` below the user's cache folder. KEY is a hash of
everything that determines the bytes, and a file gets its name only when it is whole. Processes that make the
same file at once write the same bytes, and the last one stays. So only the size is checked before a file is
used again: older versions could leave a file that a loss of power cut short.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Dataset, Load
from pytest_dsr1.storage.files import PART, replacing
from pytest_dsr1.workload.dataset import inspect_dataset, length_warnings
from pytest_dsr1.workload.synthetic import (
    Progress,
    content_key,
    draw_lengths,
    synthetic_bytes,
    write_synthetic,
)
from pytest_dsr1.workload.workload import Workload

_ABANDONED_S = 24 * 3600.0


def prepare(
    dataset: Dataset, load: Load, *, environ: Mapping[str, str], progress: Progress | None = None
) -> Workload:
    """Return the scenario's requests as a file that exists; make a synthetic one if needed.

    Args:
        dataset: the scenario's dataset, without ``${VARIABLE}``.
        load: the scenario's load.
        environ: the environment variables that give the cache folder.
        progress: called with the written and the total number of requests while a synthetic file is made.

    Raises:
        InvalidRunError: the file is not usable, or the cache folder cannot be written.
    """
    if dataset.path is not None:
        workload = inspect_dataset(Path(dataset.path), load.num_requests, vocab_size=dataset.vocab_size)
        return replace(workload, warnings=length_warnings(workload, dataset))
    key = content_key(dataset, load)
    path = cache_folder(environ) / "datasets" / f"synthetic-{key[:16]}.jsonl"
    if not _is_whole(path, synthetic_bytes(dataset, load)):
        _make(dataset, load, path, progress)
    lengths = draw_lengths(dataset, load)
    return Workload(
        path=path,
        requests=load.num_requests,
        sha256=key,
        synthetic=True,
        mean_input=float(lengths.inputs.mean()),
        max_input=int(lengths.inputs.max()),
        mean_output=float(lengths.outputs.mean()),
        max_output=int(lengths.outputs.max()),
    )


def first(workload: Workload, requests: int) -> Workload:
    """Return a workload of the first ``requests`` lines of the same file, with the hash of the whole one.

    Raises:
        InvalidRunError: the workload has fewer requests, or its file is no longer usable.
    """
    if requests == workload.requests:
        return workload
    if requests > workload.requests:
        raise InvalidRunError(
            f"{workload.path}: {requests:,} requests are needed, but the workload has "
            f"{workload.requests:,}; raise load.num_requests to at least {requests}"
        )
    prefix = inspect_dataset(workload.path, requests)
    return replace(prefix, sha256=workload.sha256, synthetic=workload.synthetic, warnings=workload.warnings)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return ``pytest-dsr1`` in ``XDG_CACHE_HOME``, or in the user's cache folder on this platform."""
    from platformdirs import user_cache_path

    home = environ.get("XDG_CACHE_HOME", "").strip()
    return Path(home) / "pytest-dsr1" if home else user_cache_path("pytest-dsr1")


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:  # missing, or unreadable: writing it again reports the reason
        return False


def _make(dataset: Dataset, load: Load, path: Path, progress: Progress | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        with replacing(path) as temporary:
            write_synthetic(dataset, load, temporary, progress)
    except OSError as error:
        size = synthetic_bytes(dataset, load) / 2**20
        raise InvalidRunError(
            f"the synthetic dataset ({size:,.1f} MiB) cannot be written to {path.parent}: {error.strerror}; "
            "make room there, or set XDG_CACHE_HOME to a writable folder with enough room"
        ) from None


def _remove_abandoned(folder: Path) -> None:
    """Remove parts that killed runs left: they can have hundreds of megabytes, and no write takes a day."""
    for part in folder.glob(f".synthetic-*{PART}"):
        try:
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()
        except FileNotFoundError:  # another process was faster
            continue
