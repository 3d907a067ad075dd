"""Made-up probes, and a program that stands in for their child."""

from __future__ import annotations

import sys
import textwrap
from itertools import permutations
from pathlib import Path

from pytest_dsr1.machine.probe.run import COMMAND
from pytest_dsr1.machine.probe.values import Probe, Probes
from tests.helpers.events import SAYS


def probe(name: str, *values: float) -> Probe:
    """Return a probe with a value per GPU; a single value of all GPUs for a probe of all."""
    return Probe(name, values, tuple((gpu,) for gpu in range(len(values))), 1.0)


def of_all(name: str, value: float, count: int = 8) -> Probe:
    """Return a probe with one value for all GPUs."""
    return Probe(name, (value,), (tuple(range(count)),), 1.0)


def peers(count: int, usual: float, **slower: float) -> Probe:
    """Return the peer bandwidth of all pairs; ``slower`` has other values, as ``p0_1=300``."""
    pairs = dict.fromkeys(permutations(range(count), 2), usual)
    for name, value in slower.items():
        one, other = map(int, name.removeprefix("p").split("_"))
        pairs[one, other] = value
    return Probe("peer_gb_s", tuple(pairs.values()), tuple(pairs), 1.0)


def probes(*found: Probe, model: str = "NVIDIA H200") -> Probes:
    """Return these probes of a machine with as many GPUs as the first of them has."""
    count = len(found[0].by_gpu) if found else 0
    return Probes(model, tuple(range(count)), found, {}, 20.0)


CHILD = f"""\
{SAYS}
def send(**event):
    say(json.dumps(event))
def begin(*names, limit_s=60.0):
    send(event="begin", names=names, limit_s=limit_s)
def found(name="memory_bandwidth_gb_s", values=(4258.0, 4259.0), gpus=((0,), (1,)), seconds=1.5):
    send(event="probe", name=name, values=values, gpus=gpus, seconds=seconds)
"""
"""The beginning of a program that stands in for the child of the probes."""


def child(program: str) -> list[str]:
    """Return the command of a child that runs this program."""
    return [sys.executable, "-c", CHILD + program]


def stand_in(folder: Path, program: str) -> str:
    """Return a folder that, on PYTHONPATH, lets a program stand in for the child of the probes."""
    body = textwrap.indent(f"{CHILD}{program}\nfile.close()\nos._exit(0)\n", "    ")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif {COMMAND[-1]!r} in sys.orig_argv:\n{body}", encoding="utf-8"
    )
    return str(folder)
