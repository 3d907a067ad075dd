"""Functions that kill a process at every point of a write, to see what is left."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType

from tests.helpers.environment import without_coverage
from tests.helpers.paths import ROOT


def killed_in_a_program(program: str, folder: Path) -> str:
    """Return the output of a Python program that gets this folder; it must print no errors.

    Its coverage is not measured: it does the same hundreds of times.
    """
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=without_coverage(), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.rstrip("\n")


def killed_at_every_point(
    module: ModuleType, write: Callable[[], object], found: Callable[[], bool], folder: Path
) -> tuple[bool, list[bool], bool]:
    """Kill a write at every call into C, at every return from C, and when the disk takes no more bytes.

    Args:
        module: the module whose ``write_atomically`` is used.
        write: writes once; it runs in its own process.
        found: returns whether the new state is there after a kill, and restores the old state.
        folder: the folder of the file.

    Returns:
        Whether there were many such points, the states that were seen, and whether temporary files were left.
    """
    whole = module.write_atomically  # the program's own: no other test sees it
    points, states = 0, set()
    while True:
        points += 1
        module.write_atomically = _dying(whole, points)  # type: ignore[attr-defined]
        status = _in_a_child(write)
        module.write_atomically = whole  # type: ignore[attr-defined]
        state = found()
        if status == 0:
            assert state
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        states.add(state)
    for bytes_left in (0, 1, 100):
        status = _in_a_child(write, bytes_left)
        assert os.WTERMSIG(status) == signal.SIGXFSZ
        assert not found()
    left = [path for path in folder.iterdir() if path.name.startswith(".") and path.suffix != ".lock"]
    return points > 20, sorted(states), len(left) > 5


def _dying(whole: Callable[[Path, str], None], point: int) -> Callable[[Path, str], None]:
    """Return a writer that dies at this call or return: open, write, flush, fsync, rename, close ..."""

    def dying(path: Path, text: str) -> None:
        left = point

        def count(_: FrameType, event: str, __: object) -> None:
            nonlocal left
            if event in ("c_call", "c_return"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        whole(path, text)
        sys.setprofile(None)

    return dying


def _in_a_child(write: Callable[[], object], bytes_left: int | None = None) -> int:
    child = os.fork()
    if child == 0:
        if bytes_left is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, bytes_left))
        write()
        os._exit(0)
    return os.waitpid(child, 0)[1]
