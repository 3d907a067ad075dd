"""Locks of GPUs: one run at a time per GPU, through a folder that all runs on the machine share."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.state_dir import lock_folders, state_dir
from pytest_dsr1.storage.filelock import NO_LOCKS, holder, is_held, lock_file, sign

_FOREIGN = (errno.EACCES, errno.EPERM, errno.ELOOP)


def holder_elsewhere(folder: Path, uuid: str, environ: Mapping[str, str]) -> str | None:
    """Return who holds this GPU's lock in any folder except ``folder``, such as root's; else None."""
    others = (other for other in lock_folders(environ) if other != folder)
    return next((holder(other, uuid) for other in others if is_held(other, uuid)), None)


@contextmanager
def gpu_lock(gpus: Sequence[GpuReading], environ: Mapping[str, str]) -> Iterator[None]:
    """Lock these GPUs while the block runs.

    Raises:
        InvalidRunError: other runs hold some of them; the message names each of these GPUs and its holder. Or
            the lock files cannot be written.
    """
    folder = state_dir(environ)
    busy = []
    with ExitStack() as stack:
        for gpu in sorted(gpus, key=lambda gpu: gpu.uuid):
            try:
                file = lock_file(folder, gpu.uuid)
                if file is not None:
                    sign(file, " ".join(sys.argv))
                    stack.enter_context(file)
            except OSError as error:
                raise _not_lockable(gpu, error) from None
            by = holder(folder, gpu.uuid) if file is None else holder_elsewhere(folder, gpu.uuid, environ)
            if by is not None:
                busy.append(f"GPU {gpu.index} ({gpu.uuid}) is in use by {by}")
        if busy:
            advice = "wait until that run ends, or choose other GPUs with CUDA_VISIBLE_DEVICES"
            raise InvalidRunError("\n".join([*busy, advice]))
        yield


def _not_lockable(gpu: GpuReading, error: OSError) -> InvalidRunError:
    why = f"{error.filename}: GPU {gpu.index} cannot be locked: {error.strerror}"
    if error.errno in _FOREIGN:
        advice = (
            "another user's run created this lock file: end that run and delete the file, or choose a folder"
        )
    elif error.errno in NO_LOCKS:
        advice = "choose a local folder"
    else:
        advice = "free space there, or choose another folder"
    return InvalidRunError(f"{why}; {advice} with DSR1_STATE_DIR")
