"""Locks of GPUs: one run at a time per GPU, through a folder that all runs on the machine share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.state_dir import state_dir
from pytest_dsr1.storage.filelock import holder, lock_file, sign


@contextmanager
def gpu_lock(gpus: Sequence[GpuReading], environ: Mapping[str, str]) -> Iterator[None]:
    """Lock these GPUs while the block runs.

    Raises:
        InvalidRunError: other runs hold some of them; the message names each of these GPUs and its holder.
    """
    folder = state_dir(environ)
    busy = []
    with ExitStack() as stack:
        for gpu in sorted(gpus, key=lambda gpu: gpu.uuid):
            try:
                file = lock_file(folder, gpu.uuid)
            except OSError as error:
                raise InvalidRunError(
                    f"{error.filename}: GPU {gpu.index} cannot be locked: {error.strerror}; another user's "
                    "run created this lock file: end that run and delete the file, or choose a folder with "
                    "DSR1_STATE_DIR"
                ) from None
            if file is None:
                busy.append(f"GPU {gpu.index} ({gpu.uuid}) is in use by {holder(folder, gpu.uuid)}")
                continue
            stack.enter_context(file)
            sign(file, " ".join(sys.argv))
        if busy:
            advice = "wait until that run ends, or choose other GPUs with CUDA_VISIBLE_DEVICES"
            raise InvalidRunError("\n".join([*busy, advice]))
        yield
