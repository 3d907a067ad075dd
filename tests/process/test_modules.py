"""A module of ours in another process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_dsr1.process.modules import module_command


def test_a_module_is_run_with_our_path_and_its_arguments(tmp_path: Path) -> None:
    """A module of the same name in the current folder is not."""
    (tmp_path / "this.py").write_text("raise SystemExit('wrong one')")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "shown.py").write_text("import sys, this\nprint(sys.argv[1:], sys.path[-1])")
    command = module_command("shown", "a b", "")
    command.append(str(tmp_path / "own"))  # as if it were in our path
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"['a b', ''] {tmp_path / 'own'}"
