"""The Slurm allocation that this process runs in, and its nodes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pytest_dsr1.errors import InvalidRunError

_PREEMPTED = re.compile(r"\bPreemptTime=(\d\S+)")
_STATE = re.compile(r"\bJobState=(\w+)")
_END_TIME = re.compile(r"\bEndTime=(\d\S+)")
_NEXT_STEP = {
    "CANCELLED": "someone or something cancelled it (scancel); submit it again",
    "TIMEOUT": "ask for more time: --time",
    "NODE_FAIL": "a node failed; submit it again, without this node (--exclude)",
}
"""What to do after an end, by Slurm's word for it."""
_SOON = timedelta(seconds=150)
"""A little more than the time before the end at which our scripts want SIGTERM (``--signal=B:TERM@120``)."""
_ASKING_S = 5.0
_ADDRESS = re.compile(r"^NodeName=(\S+) .*?\bNodeAddr=(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A Slurm allocation.

    Attributes:
        job: the id of the job.
        nodes: the names of its nodes, in Slurm's order; a batch script runs on the first one.
    """

    job: str
    nodes: tuple[str, ...]


def allocation(environ: Mapping[str, str]) -> Allocation | None:
    """Return the allocation that the environment variables of Slurm describe; None outside of one.

    Raises:
        InvalidRunError: Slurm does not say which nodes it has.
    """
    job, listed = environ.get("SLURM_JOB_ID"), environ.get("SLURM_JOB_NODELIST")
    if not job or not listed:
        return None
    return Allocation(job, tuple(_hostnames(listed, environ)))


def addresses(nodes: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return the address of each node, as Slurm reaches it.

    Raises:
        InvalidRunError: Slurm does not say.
    """
    told = slurm(["scontrol", "--oneliner", "show", "node", ",".join(nodes)], environ)
    found = dict(_ADDRESS.findall(told))
    if missing := [node for node in nodes if node not in found]:
        raise InvalidRunError(f"scontrol show node {missing[0]}: no NodeAddr in its answer")
    return [found[node] for node in nodes]


def ending(environ: Mapping[str, str]) -> str | None:
    """Return why Slurm ends our job, as a sentence; None if it does not, or cannot be asked.

    A preempted job still has the state RUNNING while its grace time lasts.
    """
    job = environ.get("SLURM_JOB_ID", "")
    if not job:
        return None
    try:
        told = slurm(["scontrol", "--oneliner", "show", "job", job], environ, _ASKING_S)
    except InvalidRunError:
        return None
    # With the id of an array, which one of its tasks has as its own, scontrol shows all tasks.
    told = next((line for line in told.splitlines() if line.startswith(f"JobId={job} ")), "")
    if (time := _PREEMPTED.search(told)) is not None:
        return f"Slurm preempts job {job} since {time[1]}; run it again where jobs are not preempted"
    state, ends = _STATE.search(told), _END_TIME.search(told)
    if state is not None and state[1] not in {"RUNNING", "COMPLETING"}:
        step = _NEXT_STEP.get(state[1], "look at it: scontrol show job, sacct")
        return f"Slurm ends job {job}: {state[1]}; {step}"
    if ends is not None and datetime.fromisoformat(ends[1]).astimezone() - datetime.now(timezone.utc) < _SOON:
        return f"Slurm ends job {job} at {ends[1]}, its time limit; {_NEXT_STEP['TIMEOUT']}"
    return None


def _hostnames(listed: str, environ: Mapping[str, str]) -> list[str]:
    """Return the names in a node list such as ``node[1-2]``."""
    try:
        return slurm(["scontrol", "show", "hostnames", listed], environ).split()
    except InvalidRunError as error:
        raise InvalidRunError(f"the nodes of this Slurm job are unknown: {error}") from None


def slurm(command: Sequence[str], environ: Mapping[str, str], timeout_s: float = 30.0) -> str:
    """Return what a program of Slurm prints.

    Raises:
        InvalidRunError: it cannot be run, fails, or prints nothing.
    """
    try:
        done = subprocess.run(
            command, env=dict(environ), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidRunError(f"{command[0]}: {error}") from None
    if done.returncode or not done.stdout.strip():
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise InvalidRunError(f"{' '.join(command)}: {said}")
    return done.stdout
