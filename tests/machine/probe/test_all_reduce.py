"""A rank of an all-reduce: its values and its files. A real one runs in test_measure.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_dsr1.machine.probe.all_reduce import problem, results, value


def test_values() -> None:
    assert value("all_reduce_64kib_us", 20e-6, 8) == pytest.approx(20)
    assert value("all_reduce_256mib_gb_s", 1e-3, 8) == pytest.approx(2 * 7 / 8 * 268.435456)
    assert value("all_reduce_256mib_gb_s", 1e-3, 2) == pytest.approx(268.435456)


def test_results_of_a_folder(tmp_path: Path) -> None:
    assert list(results(tmp_path)) == []
    (tmp_path / "results.jsonl").write_text('["all_reduce_64kib_us", 20.5]\n')
    assert list(results(tmp_path)) == [("all_reduce_64kib_us", 20.5)]


def test_the_first_error_counts(tmp_path: Path) -> None:
    assert problem(tmp_path) is None
    for rank, at in ((0, 9), (1, 5)):
        path = tmp_path / f"{rank}.error"
        path.write_text(f"rank {rank}")
        os.utime(path, (at, at))
    assert problem(tmp_path) == "rank 1"
