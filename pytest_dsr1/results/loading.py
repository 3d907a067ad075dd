"""``pytest_dsr1.load_results``: saved results as one object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, overload

from pytest_dsr1.errors import IncompleteError, UserError
from pytest_dsr1.measurement.finding import find_all
from pytest_dsr1.results.result import Result
from pytest_dsr1.results.table import COLUMNS, rows
from pytest_dsr1.text import brief

if TYPE_CHECKING:
    import pandas as pd

RESULTS = ".dsr1"
"""The folder of results, unless another is named."""
_TYPES = {
    "value": "float64",
    "target": "float64",
    "isl": "float64",
    "osl": "float64",
    "request_rate": "float64",
    "started_utc": "datetime64[ns, UTC]",
    "gpu_count": "Int64",
    "concurrency": "Int64",
}
"""The types of columns in any version of pandas, also if all of their cells are empty."""


class Results(Sequence[Result]):
    """Saved results, oldest first. It is immutable; a slice is one too.

    ``Results(result for result in results if ...)`` makes another one of some of them.
    """

    def __init__(self, results: Iterable[Result], left_out: Iterable[str] = ()) -> None:
        self._results = tuple(sorted(results, key=lambda result: (result.started, result.folder)))
        self._left_out = tuple(left_out)

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each run without a result: it failed, was killed, or is still in progress."""
        return self._left_out

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Result | Results:
        found = self._results[index]
        return Results(found) if isinstance(found, tuple) else found

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        profiles = sorted({result.profile for result in self})
        return f"<Results: {len(self)} of {', '.join(profiles) or 'no profile'}>"

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame in long form: a row for each metric of each run.

        The columns are those of ``pytest-dsr1 export`` (``pytest-dsr1 docs analyze#columns``). Times are in
        UTC; ``value`` and ``target`` are in the row's ``unit``.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise UserError("to_dataframe() needs pandas: pip install pandas") from None
        frame = pd.DataFrame.from_records(list(rows(self)), columns=list(COLUMNS))
        frame["started_utc"] = pd.to_datetime(frame["started_utc"], utc=True)
        return frame.astype(_TYPES)


def load_results(*names: str | PathLike[str], results: str | PathLike[str] = RESULTS) -> Results:
    """Return saved results, each run once, oldest first.

    Results of earlier versions are read as by ``--dsr1-replay``.

    Args:
        names: of each, a result's folder, a profile or its folder for all of its results, a folder of results
            for all results in it, or a glob. By default all results in ``results``.
        results: the folder in which profiles are looked for.

    Raises:
        UserError: a name means no result, or a result cannot be read. The message has every problem, and
            names the files.
    """
    folder = Path(results)
    if not names and not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder, in which runs save their results; start where it is, or "
            "name a folder of results"
        )
    problems: dict[str, None] = {}
    loaded: list[Result] = []
    left_out: list[str] = []
    for run, is_named in _found([fspath(name) for name in names or (folder,)], folder, problems).items():
        try:
            loaded.append(Result.load(run))
        except IncompleteError as error:
            if is_named:
                problems[str(error)] = None
            left_out.append(brief(str(error)))
        except UserError as error:
            problems[str(error)] = None
    if problems or not loaded:
        raise UserError("\n".join(problems or left_out))
    return Results(loaded, left_out)


def _found(names: Sequence[str], results: Path, problems: dict[str, None]) -> dict[Path, bool]:
    """Return the folder of each result once, and whether a name means it alone; add what is wrong."""
    found: dict[Path, tuple[Path, bool]] = {}
    for name in names:
        try:
            runs = find_all(name, results)
        except UserError as error:
            problems[str(error)] = None
        except OSError as error:
            problems[f"{error.filename or name}: cannot be read: {error.strerror}"] = None
        else:
            for run in runs:
                known, was_named = found.get(run.absolute(), (run, False))
                found[run.absolute()] = known, was_named or run == Path(name)
    return dict(found.values())
