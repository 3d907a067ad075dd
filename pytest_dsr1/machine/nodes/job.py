"""The Slurm job of a session: what keeps a scenario from running in it, before any GPU time is spent.

Slurm is asked once per session.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from functools import cached_property

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.nodes.allocation import Allocation, seconds, slurm
from pytest_dsr1.process.slurm import own_step
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site

_MPI_TYPE = re.compile(r"^(?:srun:)?\s+(\w+)$", re.MULTILINE)
_MAY_SHARE = {"OK", "YES"}
"""What squeue calls a job that other jobs may share nodes with: squeue(1), %h."""
_START_S = 1800
"""Added to the measured time in the advice for ``--time``: loading the weights can take 25 minutes."""


class SlurmJob:
    """A Slurm job, and its checks.

    Args:
        allocation: its nodes.
        environ: the environment variables of the run.
    """

    def __init__(self, allocation: Allocation, environ: Mapping[str, str]) -> None:
        self.allocation = allocation
        self._environ = environ

    def look(self, scenario: Scenario, site: Site, expected_s: float | None) -> Iterator[Finding]:
        """Yield findings on the job.

        Args:
            scenario: the scenario that will run.
            site: the cluster.
            expected_s: how long its measured part takes if the targets are met, in s; None if unknown.
        """
        yield from self._place(scenario)
        if scenario.hardware.nodes > 1:
            yield from self._mpi(site.slurm.mpi)
        yield from self._time(expected_s)
        yield from self._requeued()

    def _place(self, scenario: Scenario) -> Iterator[Finding]:
        """Check where pytest runs: on the first node of the job, outside of a step."""
        if scenario.hardware.nodes > 1 and (step := own_step(self._environ)):
            message = (
                f"pytest runs inside step {step} of srun, and a run on several nodes starts its own steps: "
                "start pytest without srun, in the batch script"
            )
            yield Finding("mismatch", "Slurm step", message)
        first, *others = self.allocation.nodes
        host = socket.gethostname()
        here = {self._environ.get("SLURMD_NODENAME"), host, host.partition(".")[0]}
        if first not in here:
            where = next((node for node in others if node in here), host)
            what = "another node" if where in others else "not a node"
            message = (
                f"pytest runs on {where}, which is {what} of job {self.allocation.job}; expected its first "
                f"node, {first} (salloc may start its shell on the login node); submit a batch script: "
                f"pytest-dsr1 sbatch {scenario.name}"
            )
            yield Finding("mismatch", "Slurm node", message)

    def _mpi(self, wanted: str) -> Iterator[Finding]:
        if self._mpi_types and wanted not in self._mpi_types:
            message = (
                f"this cluster's srun has no MPI type {wanted}, only {', '.join(self._mpi_types)}; write one "
                "of them as slurm.mpi into the site file, and name that with --dsr1-site=FILE"
            )
            yield Finding("mismatch", "Slurm MPI", message)

    def _time(self, expected_s: float | None) -> Iterator[Finding]:
        try:
            ends_s, shared = self._asked
        except InvalidRunError as error:
            yield Finding("warning", "Slurm job", f"its end is unknown, and whether it is exclusive: {error}")
            return
        if shared:
            message = (
                "it is not exclusive, so other jobs may slow this one on its nodes; add: #SBATCH --exclusive"
            )
            yield Finding("warning", "Slurm job", message)
        if ends_s is not None and expected_s and (left_s := max(ends_s - time.monotonic(), 0)) < expected_s:
            message = (
                f"the job ends in {_clock(left_s)}, and measuring takes {_clock(expected_s)} if the targets "
                f"are met; ask for more time, also for the start: --time={_clock(expected_s + _START_S)}"
            )
            yield Finding("mismatch", "Slurm time", message)

    def _requeued(self) -> Iterator[Finding]:
        count = self._environ.get("SLURM_RESTART_COUNT", "0")
        if count != "0":
            message = (
                f"this job is back from the queue (SLURM_RESTART_COUNT={count}): a node failed, or it was "
                "preempted; to run it once only, add: #SBATCH --no-requeue"
            )
            yield Finding("warning", "Slurm requeue", message)

    @cached_property
    def _asked(self) -> tuple[float | None, bool]:
        """When the job ends, on the monotonic clock, if it does; and whether others may share its nodes.

        Raises:
            InvalidRunError: Slurm does not say.
        """
        job = self.allocation.job
        text = slurm(["squeue", "--noheader", f"--jobs={job}", "--format=%A|%L|%h"], self._environ)
        found = next((words for line in text.splitlines() if (words := line.split("|"))[0] == job), None)
        if found is None:
            raise InvalidRunError(f"squeue does not list job {job}")
        return _end_s(found[1]), found[2].strip() in _MAY_SHARE

    @cached_property
    def _mpi_types(self) -> list[str]:
        """The MPI types of srun; none if it does not list them."""
        try:
            text = slurm(["sh", "-c", "srun --mpi=list 2>&1"], self._environ)
        except InvalidRunError:
            return []  # the agents, which need srun too, say what is wrong
        of_pmix = " ".join(re.findall(r"versions available:(.*)", text))
        return [*_MPI_TYPE.findall(text), *re.findall(r"\w+", of_pmix)]


def _end_s(left: str) -> float | None:
    """Return the end of the time that squeue says is left, on the monotonic clock; None without an end."""
    left_s = seconds(left)
    return None if left_s is None else time.monotonic() + left_s


def _clock(seconds: float) -> str:
    """Return a time as Slurm writes and reads it, such as ``1:30:00``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
