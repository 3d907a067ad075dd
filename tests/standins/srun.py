"""A stand-in for the srun of Slurm 22.05 in an allocation: strict about options, with all tasks here.

:func:`install` puts it in a folder for PATH. Each task has the variables of a step. A task that fails ends
the others, with srun's words; SIGTERM ends all. A container image is a folder: the programs in its ``bin``
come first, and the variables in its ``environment``, unless ``--container-env`` names them, as with pyxis.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from tests.standins.program import write_program

_VALUED = {
    *("--mpi", "--nodes", "--ntasks", "--ntasks-per-node", "--distribution", "--export", "--wait"),
    *("--kill-on-bad-exit", "--cpu-bind", "--job-name", "--relative", "--input"),
}
_OF_PYXIS = {"--container-image", "--container-mounts", "--container-workdir", "--container-env"}


def install(folder: Path) -> Path:
    """Install ``folder/srun`` and return the folder."""
    write_program(folder, "srun", "srun")
    return folder


def main() -> NoReturn:
    words, options = sys.argv[1:], dict[str, str]()
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name, _, value = word.partition("=")
        if not (name in _VALUED | _OF_PYXIS if value else name == "--overlap"):
            sys.stderr.write(
                f"srun: unrecognized option '{word}'\nTry \"srun --help\" for more information\n"
            )
            raise SystemExit(255)
        options[name] = value
    if options["--mpi"] not in {"pmix", "pmi2", "none"}:
        mpi = options["--mpi"]
        sys.stderr.write(f"srun: error: Invalid MPI type '{mpi}', --mpi=list for acceptable types\n")
        raise SystemExit(1)
    ntasks, nodes = int(options["--ntasks"]), int(options["--nodes"])
    assert int(options.get("--ntasks-per-node", 1)) * nodes == ntasks
    if int(options.get("--relative", 0)) + nodes > len(os.environ.get("DSR1_STANDIN_NODES", "n1 n2").split()):
        sys.stderr.write(
            "srun: error: Unable to create step for job 7: Requested node configuration is not available\n"
        )
        raise SystemExit(1)
    if image := options.get("--container-image"):
        os.environ["PATH"] = f"{image}/bin{os.pathsep}{os.environ['PATH']}"
        os.environ |= _of_image(Path(image), options.get("--container-env", "").split(","))
        os.chdir(options.get("--container-workdir", "/"))
    raise SystemExit(_run(words, ntasks, ntasks // nodes, options.get("--input")))


def _of_image(image: Path, kept: list[str]) -> dict[str, str]:
    """Return the variables of an image, without those that keep our value."""
    path = image / "environment"
    pairs = [line.split("=", 1) for line in path.read_text().splitlines()] if path.exists() else []
    return {name: value for name, value in pairs if name not in kept or name not in os.environ}


def _run(command: list[str], ntasks: int, per_node: int, reader: str | None) -> int:
    """Run the tasks, of which one may be the only reader; return the exit status of the first that failed."""
    if shutil.which(command[0]) is None:
        sys.stderr.write(f"slurmstepd: error: execve(): {command[0]}: No such file or directory\n")
        return 2
    tasks: list[subprocess.Popen[bytes]] = []
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        for task in tasks:
            task.terminate()

    signal.signal(signal.SIGTERM, end)
    for rank in range(ntasks):
        stdin = None if reader in {None, str(rank)} else subprocess.DEVNULL
        variables = {**os.environ, **_variables(rank, ntasks, per_node)}
        tasks.append(subprocess.Popen(command, env=variables, stdin=stdin))
        if ended:
            tasks[-1].terminate()
    for rank, task in enumerate(tasks):
        if code := task.wait():
            node = f"node{rank // per_node + 1}"
            sys.stderr.write(f"srun: error: {node}: task {rank}: Exited with exit code {code}\n")
            for other in tasks:
                other.terminate()
            return code
    return 0


def _variables(rank: int, ntasks: int, per_node: int) -> dict[str, str]:
    return {
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": str(ntasks),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % per_node),
        "SLURM_NODEID": str(rank // per_node),
    }
