"""The workload of a scenario: its own file, checked, or a synthetic one from the cache.

A cached dataset is the file ``datasets/synthetic-KEY.jsonl`` below the user's cache folder. KEY is made from
everything the bytes depend on, and the file gets that name only when it is whole; processes that make the
same one at once write the same bytes, and the last one's stays. So its size is all that is checked when it is
used again: after a loss of power a file can be cut short.
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
    """The scenario's requests as a file that exists.

    Args:
        dataset: the scenario's, without ``${VARIABLE}``.
        load: the scenario's.
        environ: where the cache folder is looked up.
        progress: called with requests written and requests in all while a synthetic file is made.

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
    """The same file, of which only the first ``requests`` lines are sent; its content key stays the whole's.

    Raises:
        InvalidRunError: the workload has fewer, or its file is not usable any more.
    """
    if requests == workload.requests:
        return workload
    if requests > workload.requests:
        raise InvalidRunError(
            f"{workload.path}: {requests:,} requests are to be sent, and the workload has "
            f"{workload.requests:,}; raise load.num_requests to at least {requests}"
        )
    prefix = inspect_dataset(workload.path, requests)
    return replace(prefix, sha256=workload.sha256, synthetic=workload.synthetic, warnings=workload.warnings)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """``pytest-dsr1`` in ``XDG_CACHE_HOME``, or in the platform's cache folder of the user."""
    from platformdirs import user_cache_path

    home = environ.get("XDG_CACHE_HOME", "").strip()
    return Path(home) / "pytest-dsr1" if home else user_cache_path("pytest-dsr1")


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:  # missing, or in the way of being made, which will say why
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
            "make room there, or set XDG_CACHE_HOME to a folder with room that you may write to"
        ) from None


def _remove_abandoned(folder: Path) -> None:
    """Killed runs leave hundreds of megabytes behind; nothing takes a day to write."""
    for part in folder.glob(f".synthetic-*{PART}"):
        try:
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()
        except FileNotFoundError:  # another process was faster
            continue
