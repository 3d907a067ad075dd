"""A stand-in for TensorRT-LLM's ``trtllm-llmapi-launch``, over real MPI.

:func:`install` puts it in a folder for PATH. Each rank joins MPI through Slurm's PMIx. The first one runs the
command, split at spaces, without the variables of a step and without input, as the shell script does that in
the background (TensorRT-LLM 1.0). The others wait for its end. ``DSR1_STANDIN_FAILING_RANK`` names a rank
that fails meanwhile.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from tests.standins.program import write_program

_POLL_S = 0.05
_TAKEN_AWAY = ("OMPI_", "PMIX_", "PMI_", "SLURM_", "MPI_", "UCX_")


def install(folder: Path) -> Path:
    """Install ``folder/trtllm-llmapi-launch``, and return the folder."""
    write_program(folder, "trtllm-llmapi-launch", "llmapi_launch", site=True)
    return folder


def main() -> NoReturn:
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    nodes = world.gather(socket.gethostname())
    if world.rank == 0:
        print(f"Rank0 of {world.size} on {nodes}", flush=True)
        code = subprocess.call(
            " ".join(sys.argv[1:]).split(),
            stdin=subprocess.DEVNULL,
            close_fds=False,
            env={name: value for name, value in os.environ.items() if not name.startswith(_TAKEN_AWAY)},
        )
        for rank in range(1, world.size):
            world.send(code, rank)
        raise SystemExit(code)
    if os.environ.get("DSR1_STANDIN_FAILING_RANK") == str(world.rank):
        os._exit(3)
    told = world.irecv(source=0)
    # Open MPI's own waiting takes a whole processor.
    while not (ended := told.test())[0]:
        time.sleep(_POLL_S)
    raise SystemExit(ended[1])
