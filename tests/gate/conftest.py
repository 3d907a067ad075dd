from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.machine.warm_start import Starts


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    """The known engine starts of a node that has seen none."""
    return Starts({"DSR1_STATE_DIR": str(tmp_path / "state")}, print)
