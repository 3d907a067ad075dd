"""The command ``pytest-dsr1 probe``: what the GPUs of this machine can do."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dsr1.text import columns, say

if TYPE_CHECKING:
    from pytest_dsr1.machine.gpu.inventory import GpuReading
    from pytest_dsr1.machine.probe.judge import Judged
    from pytest_dsr1.machine.probe.values import Probes

NOT_PROBED = 10
"""The exit status if nothing could be probed, as of a run that does not count."""


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    probe = commands.add_parser(
        "probe",
        help="measure what the GPUs of this machine can do",
        description="Measure memory bandwidth, matrix rates, links and an all-reduce of this machine's GPUs, "
        "in about a minute, and compare the GPUs with each other and with their peak. Needs PyTorch, and "
        "changes no setting. Exit status 10 if nothing could be probed. See `pytest-dsr1 docs gpus#probes`.",
    )
    probe.add_argument("--json", action="store_true", help="print JSON instead of a table")
    probe.set_defaults(run=_probe)


def _probe(options: argparse.Namespace) -> int:
    from pytest_dsr1.machine.gpu.inventory import read_machine, readable
    from pytest_dsr1.machine.probe.judge import judge
    from pytest_dsr1.machine.probe.values import unprobed

    machine = read_machine(os.environ)
    gpus = readable(machine.gpus)
    if gpus:
        probes = _measured(gpus)
    else:
        unread = next((gpu.problem for gpu in machine.gpus if gpu.problem), None)
        why = machine.problem or machine.visibility or unread or "there is no GPU"
        probes = unprobed((), why)
    judged = judge(probes)
    if options.json:
        sys.stdout.write(json.dumps(_document(probes, judged), indent=1) + "\n")
    else:
        if probes.probes:
            say("\n".join(_table(probes)))
        for sentence in (*(one.text for one in judged), *_shared(gpus), *probes.not_probed):
            say(sentence)
    return 0 if probes.probes else NOT_PROBED


def _measured(gpus: tuple[GpuReading, ...]) -> Probes:
    """Probe the GPUs, if no run has locked them; the log is kept if anything is missing."""
    from pytest_dsr1.errors import InvalidRunError
    from pytest_dsr1.machine.gpu.inventory import gpu_list
    from pytest_dsr1.machine.gpu.lock import gpu_lock
    from pytest_dsr1.machine.probe.run import probe
    from pytest_dsr1.machine.probe.values import expected_s, unprobed

    say(
        f"probing {gpu_list([gpu.index for gpu in gpus])}, about {expected_s(len(gpus)):.0f} s",
        error=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="dsr1-probe-"))
    try:
        with gpu_lock(gpus, os.environ):
            probes = probe(gpus, os.environ, folder / "probe.log")
    except InvalidRunError as error:
        probes = unprobed((gpu.index for gpu in gpus), str(error))
    if not any(str(folder) in why for why in probes.missing.values()):
        shutil.rmtree(folder)
    return probes


def _shared(gpus: tuple[GpuReading, ...]) -> Iterator[str]:
    """Yield which GPUs were in use by other processes, so that their values may be low."""
    from pytest_dsr1.machine.gpu.inventory import gpu_list

    used = [gpu.index for gpu in gpus if gpu.processes]
    if used:
        yield f"{gpu_list(used)}: in use by other processes, so the values may be too low"


def _table(probes: Probes) -> Iterator[str]:
    from pytest_dsr1.machine.probe.values import figure

    heads = ["", "unit", *(f"GPU {gpu}" for gpu in probes.gpus)]
    rows = []
    for one in probes.probes:
        if one.kind.of == "all":
            cells = [figure(one.values[0]), *[""] * (len(probes.gpus) - 1)]
        else:
            found = {gpus: figure(value) for gpus, value in one.by_gpu}
            cells = [found.get((gpu,), "") for gpu in probes.gpus]
        rows.append([one.kind.label, one.unit, *cells])
    return columns([heads, *rows], range(2, len(heads)))


def _document(probes: Probes, judged: tuple[Judged, ...]) -> dict[str, object]:
    return {
        "format": "pytest-dsr1 probes",
        "version": 1,
        "model": probes.model,
        "gpus": probes.gpus,
        "seconds": probes.seconds,
        "probes": [
            {
                "name": one.name,
                "unit": one.unit,
                "values": one.values,
                "gpus": one.gpus,
                "smallest_percent": one.smallest_percent,
                "seconds": one.seconds,
            }
            for one in probes.probes
        ],
        "missing": dict(probes.missing),
        "judged": [
            {"verdict": one.verdict, "against": one.against, "probe": one.probe, "text": one.text}
            for one in judged
        ],
    }
