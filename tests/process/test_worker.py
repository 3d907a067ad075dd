from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from pytest_dsr1.process.child import Child

PROGRAM = """
import subprocess, sys
from pytest_dsr1.process.worker import main
def work(job, events, orders):
    print("printed")
    subprocess.run("cat; echo of a child", shell=True)
    events.send("phase", phase=orders.readline().decode().strip(), detail=job.name)
sys.exit(main(sys.argv[1:], work, str))
"""
BEHIND_A_LAUNCHER = ("sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh")
"""Starts a program whose orders are on another descriptor than standard input."""


@pytest.mark.parametrize(("before", "after"), [((), ()), (BEHIND_A_LAUNCHER, ("3",))])
def test_only_events_and_orders_pass_through_a_workers_streams(
    tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """A process that it starts would take orders away, and write into the events."""
    argv = [*before, sys.executable, "-c", PROGRAM, "job.json", *after]
    log = tmp_path / "log"
    with Child(argv, env=os.environ, cwd=tmp_path, log=log, events=True, commands=True) as child:
        child.send("measuring")
        lines = child.read(60)
        while more := child.read(60):
            lines += more
    (event,) = (json.loads(line.text) for line in lines if line.kind == "event")
    assert (event["phase"], event["detail"]) == ("measuring", "job.json")
    assert sorted(log.read_text().splitlines()) == ["of a child", "printed"]
    assert child.returncode == 0
