"""Stand-ins for sbatch, squeue and scancel, as strict about options as Slurm; no job runs.

DSR1_STANDIN_SLURM is the folder in which they keep what they were told.

``sbatch`` reads a script, refuses unknown options in it, keeps it as ``job-N.sh`` and gives it the number N,
the first one 1. If there is a file ``refuse-N``, it refuses job N with its text. ``squeue`` tells the lines
of the file ``states``: the first paragraph on the first call, the next one on the next call, and then the
last one again and again. A paragraph that begins with ``error`` is told as an error, and with ``stop`` the
caller gets SIGTERM. ``scancel`` keeps the ids in ``canceled``, unless there is a file ``refuse-scancel``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

from tests.standins.program import write_program

_PROGRAMS = ("sbatch", "squeue", "scancel")


def install(folder: Path) -> Path:
    """Make the programs in a new folder, for PATH; return it."""
    for name in _PROGRAMS:
        write_program(folder, name, "slurm", name)
    return folder


def _parser(name: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=name, allow_abbrev=False, add_help=False)


def _sbatch(folder: Path) -> int:
    command = _parser("sbatch")
    command.add_argument("--parsable", action="store_true", required=True)
    command.parse_args()
    text = sys.stdin.read()
    script = _parser("sbatch")
    for name in ("job-name", "signal", "gpus-per-node", "time", "nodes", "array", "output", "partition"):
        script.add_argument(f"--{name}")
    script.add_argument("--exclusive", action="store_true")
    script.add_argument("--no-requeue", action="store_true", required=True)
    first, *lines = text.splitlines()
    assert first == "#!/bin/sh", first
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    given = script.parse_args([word for line in directives for word in shlex.split(line)])
    assert Path(given.output).parent.is_dir(), given.output
    job = len(list(folder.glob("job-*.sh"))) + 1
    refusal = folder / f"refuse-{job}"
    if refusal.exists():
        sys.stderr.write(refusal.read_text(encoding="utf-8"))
        return 1
    (folder / f"job-{job}.sh").write_text(text, encoding="utf-8")
    sys.stdout.write(f"{job}\n")
    return 0


def _squeue(folder: Path) -> int:
    command = _parser("squeue")
    for name in ("noheader", "array"):
        command.add_argument(f"--{name}", action="store_true", required=True)
    command.add_argument("--states", choices=["all"], required=True)
    command.add_argument("--jobs", required=True)
    command.add_argument("--Format", required=True)
    given = command.parse_args()
    fields = [field.split(":") for field in given.Format.split(",")]
    names = [name for name, _ in fields]
    assert names == ["ArrayJobID", "ArrayTaskID", "State", "exit_code", "Reason"], names
    calls = folder / "squeue-calls"
    with calls.open("a+", encoding="utf-8") as file:
        file.write(f"{given.jobs}\n")
        file.seek(0)
        number = len(file.readlines())
    paragraphs = (folder / "states").read_text(encoding="utf-8").split("\n\n")
    told = paragraphs[min(number, len(paragraphs)) - 1].strip()
    if told == "stop":
        os.kill(os.getppid(), signal.SIGTERM)
    if told.startswith("error"):
        sys.stderr.write(told.partition(" ")[2] + "\n")
        return 1
    for line in told.splitlines():
        values = line.split()
        assert len(values) == len(fields), line
        widths = [int(width) for _, width in fields]
        cells = (value[:width].ljust(width) for value, width in zip(values, widths, strict=True))
        sys.stdout.write("".join(cells) + "\n")
    return 0


def _scancel(folder: Path) -> int:
    command = _parser("scancel")
    command.add_argument("job", nargs="+", type=int)
    if (folder / "refuse-scancel").exists():
        sys.stderr.write("scancel: error: Kill job error on job id 1: Access/permission denied\n")
        return 1
    with (folder / "canceled").open("a", encoding="utf-8") as file:
        file.writelines(f"{job}\n" for job in command.parse_args().job)
    return 0


def main(name: str) -> None:
    """Run the program with this name."""
    run = dict(zip(_PROGRAMS, (_sbatch, _squeue, _scancel), strict=True))[name]
    sys.exit(run(Path(os.environ["DSR1_STANDIN_SLURM"])))
