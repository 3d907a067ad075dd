"""The stand-in of trtllm-bench for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.trtllm_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in [name for name in os.environ if name.startswith("DSR1_STANDIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSR1_STANDIN_PIDS", str(tmp_path / "pids"))
    return Bench(tmp_path, monkeypatch)


@pytest.fixture
def workers(tmp_path: Path) -> Callable[[], list[int]]:
    """The ids of the stand-in's workers that left its process group, one a run."""
    path = tmp_path / "pids"
    return lambda: [int(pid) for pid in path.read_text().split()]
