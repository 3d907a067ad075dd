"""One run at a time on a GPU: a lock file for each, held by the kernel's flock and so freed by any death."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.state_dir import state_dir


def user() -> str:
    """Whose process this is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def lock_file(folder: Path, name: str) -> IO[str] | None:
    """Lock one file ``NAME.lock``; None if somebody holds it. Closing the file lets go of it.

    The name is a GPU's UUID, or whatever else only one may use at a time.
    """
    descriptor = os.open(
        folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
    )
    file = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_held(folder: Path, uuid: str) -> bool:
    """Whether a run holds this GPU; needs no right to write."""
    try:
        file = (folder / f"{uuid}.lock").open(encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(folder: Path, name: str) -> str:
    """Who holds a lock, in words, by what is written in it."""
    try:
        held = json.loads((folder / f"{name}.lock").read_text(encoding="utf-8"))
        return f"pid {held['pid']} of user {held['user']} since {held['since']}: {held['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a run that is just starting"


def sign(file: IO[str], command: str) -> None:
    """Write in a lock who holds it: this process, since now, for ``command``."""
    holding = {
        "pid": os.getpid(),
        "user": user(),
        "command": command,
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    file.truncate()
    json.dump(holding, file)
    file.flush()


@contextmanager
def gpu_lock(gpus: Sequence[GpuReading], environ: Mapping[str, str]) -> Iterator[None]:
    """Hold these GPUs.

    Raises:
        InvalidRunError: others hold some of them; names every one and its holder.
    """
    folder = state_dir(environ)
    busy = []
    with ExitStack() as stack:
        for gpu in sorted(gpus, key=lambda one: one.uuid):
            try:
                file = lock_file(folder, gpu.uuid)
            except OSError as error:
                raise InvalidRunError(
                    f"{error.filename}: GPU {gpu.index} cannot be locked: {error.strerror}; another user's "
                    "run made this file: end that run and delete it, or name a folder with DSR1_STATE_DIR"
                ) from None
            if file is None:
                busy.append(f"GPU {gpu.index} ({gpu.uuid}) is in use by {holder(folder, gpu.uuid)}")
                continue
            stack.enter_context(file)
            sign(file, " ".join(sys.argv))
        if busy:
            advice = "wait for it to end, or choose other GPUs with CUDA_VISIBLE_DEVICES"
            raise InvalidRunError("\n".join([*busy, advice]))
        yield
