"""One run at a time on a GPU: each GPU has a lock, in the folder that all runs of the machine share."""

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
