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
_SPAN = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")
_NEXT_STEP = {
    "CANCELLED": "someone or something canceled it (scancel); submit it again",
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
    text = slurm(["scontrol", "--oneliner", "show", "node", ",".join(nodes)], environ)
    found = dict(_ADDRESS.findall(text))
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
        text = slurm(["scontrol", "--oneliner", "show", "job", job], environ, _ASKING_S)
    except InvalidRunError:
        return None
    # With the id of an array, which one of its tasks has as its own, scontrol shows all tasks.
    text = next((line for line in text.splitlines() if line.startswith(f"JobId={job} ")), "")
    if (time := _PREEMPTED.search(text)) is not None:
        return f"Slurm preempts job {job} since {time[1]}; run it again where jobs are not preempted"
    state = _STATE.search(text)
    word = "" if state is None else state[1]
    if word in {"RUNNING", "COMPLETING"}:
        word = _why_soon(text)
    if not word:
        return None
    return f"Slurm ends job {job}: {word}; {_NEXT_STEP.get(word, 'look at it: scontrol show job, sacct')}"


def _why_soon(text: str) -> str:
    """Return Slurm's word for the end of a job that is near; empty if it is not.

    A job that is canceled has an end before its time limit.
    """
    times = {name: found[1] for name in ("StartTime", "EndTime") if (found := _time(name, text))}
    limit_s = seconds(found[1]) if (found := _time("TimeLimit", text)) else None
    if len(times) < 2:
        return ""
    start, end = (datetime.fromisoformat(times[name]).astimezone() for name in ("StartTime", "EndTime"))
    if end - datetime.now(timezone.utc) > _SOON:
        return ""
    of_limit = limit_s is not None and (end - start).total_seconds() >= limit_s - 1
    return "TIMEOUT" if of_limit else "CANCELLED"


def _time(name: str, text: str) -> re.Match[str] | None:
    return re.search(rf"\b{name}=(\d\S+)", text)


def seconds(text: str) -> float | None:
    """Return a span of time of Slurm, such as ``1-02:03:04``; None for another text, such as UNLIMITED."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        return None
    days, hours, minutes, rest = (int(each or 0) for each in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


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
