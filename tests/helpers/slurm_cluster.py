"""A real Slurm cluster on this machine, for one test run: munged, slurmctld, and a slurmd per node.

Several can run side by side: each has its own folder, ports, names of nodes and munge key. It needs root.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.helpers import slurm_settings
from tests.helpers.environment import without_coverage
from tests.helpers.slurm_node import Node, end, started

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
"""All that a cluster needs; in Debian: munge, slurmctld, slurmd, slurm-client."""
FINAL = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "TIMEOUT"),
}
"""The states of a job that has ended."""
_OURS = ("PYTEST_", "SLURM", "SBATCH_", "CUDA_VISIBLE_DEVICES", "DSR1_", "TOX_", "CI")
"""Variables of the run of the tests that no job gets."""
_PATIENCE_S = 240.0


class Cluster:
    """The running cluster.

    Args:
        root: its folder.
        config: its slurm.conf.
        nodes: all of its nodes.
        library: the folder of the stand-in NVML and nvidia-smi.
    """

    def __init__(self, root: Path, config: Path, nodes: list[Node], library: Path) -> None:
        self.root = root
        self.nodes = nodes
        base = {name: value for name, value in without_coverage().items() if not name.startswith(_OURS)}
        self.environment = {
            **base,
            "PATH": f"{library}{os.pathsep}{os.environ['PATH']}",
            "LD_LIBRARY_PATH": str(library),
            "SLURM_CONF": str(config),
        }
        """The variables of a person who uses the cluster; a job gets them, and those of its node."""

    def node(self, number: int) -> Node:
        """Return a node by its number, from 1."""
        return self.nodes[number - 1]

    def run(self, *command: str, text: str = "", **variables: str) -> str:
        """Run a program of Slurm, as on a login node; return what it prints.

        Args:
            *command: the program and its arguments.
            text: what it reads.
            **variables: what is added to its environment.

        Raises:
            AssertionError: with all that it printed, as it failed.
        """
        done = subprocess.run(
            command,
            input=text,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def sbatch(self, script: str, *options: str, folder: Path, **variables: str) -> int:
        """Submit a script for bash; return the job's id.

        Args:
            script: the lines after ``#!/bin/bash``.
            *options: of sbatch.
            folder: in which it runs.
            **variables: what is added to its environment.
        """
        own = [f"--chdir={folder}", f"--output={self._output('%j')}"]
        text = f"#!/bin/bash\n{script}\n"
        return int(self.run("sbatch", "--parsable", *own, *options, text=text, **variables))

    def _output(self, job: int | str) -> Path:
        return self.root / "log" / f"job-{job}"

    def output(self, job: int) -> str:
        """Return what a job's script and steps have printed so far."""
        path = self._output(job)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def facts(self, job: int) -> dict[str, str]:
        """Return what Slurm knows about a job, such as ``JobState``, ``Reason`` and ``ExitCode``."""
        words = self.run("scontrol", "--oneliner", "show", "job", str(job)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: int) -> str:
        """Return the state of a job, such as RUNNING."""
        return self.facts(job)["JobState"]

    def status(self, job: int) -> int:
        """Return the exit status of the script of a job that has ended by itself."""
        status, signal = self.facts(job)["ExitCode"].split(":")
        assert signal == "0", f"job {job} ended by signal {signal}\n{self.output(job)}"
        return int(status)

    def wait(self, job: int) -> str:
        """Wait until a job has ended, and nothing of it is left on any node; return its state."""
        self.until(lambda: self.state(job) in FINAL, f"the end of job {job}", job)
        self.until(lambda: not self._left(job), f"the end of the processes of job {job}", job)
        return self.state(job)

    def until(self, reached: Callable[[], object], what: str, job: int | None = None) -> None:
        """Wait until this is true; fail with what a job has printed, if it never is."""
        deadline = time.monotonic() + _PATIENCE_S
        while not reached():
            if time.monotonic() > deadline:
                told = "" if job is None else f"\n{self.facts(job)}\n{self.output(job)}"
                raise AssertionError(f"{what} did not happen within {_PATIENCE_S:g} s{told}")
            time.sleep(0.05)

    def until_empty(self) -> None:
        """Wait until no process of a job is left on any node, not even Slurm's own."""
        self.until(lambda: not any(node.processes() for node in self.nodes), "the end of all processes")

    def printed(self, job: int, text: str) -> None:
        """Wait until a job has printed this text."""
        self.until(lambda: text in self.output(job), f"job {job} printing {text!r}", job)

    def _left(self, job: int) -> list[str]:
        """Return the ids of the steps that a node still runs for a job."""
        return [step for step in self.steps() if step.partition(".")[0] == str(job)]

    def steps(self) -> list[str]:
        """Return the ids of all running steps, such as ``7.batch`` and ``7.0``."""
        return sorted(self.run("squeue", "--steps", "--noheader", "--format=%i").split())

    def jobs(self) -> list[int]:
        """Return the ids of all jobs that wait, run, or are about to end."""
        return [int(job) for job in self.run("squeue", "--noheader", "--format=%A").split()]

    def cancel(self, job_or_step: int | str) -> None:
        """Cancel a job, or a step such as ``7.0``."""
        self.run("scancel", str(job_or_step))

    def time_out(self, job: int) -> None:
        """Let a job exceed its time limit now; Slurm notices it within 30 s."""
        self.run("scontrol", "update", f"JobId={job}", "TimeLimit=0")

    def idle(self) -> bool:
        """Return whether Slurm answers, and no node has anything to do."""
        try:
            told = self.run("sinfo", "--noheader", "-N", "--partition=batch", "--format=%t").split()
        except AssertionError:
            return False
        return told == ["idle"] * len(self.nodes)

    def clear(self) -> None:
        """Make the cluster as new: end all jobs, start what was killed, and renew the GPUs."""
        for node in self.nodes:
            if node.slurmd.poll() is not None:
                node.start()
        self.run("scancel", "--user=root")
        self.until(lambda: not self.jobs(), "the end of all jobs")
        self.until(self.idle, "an idle cluster")
        for node in self.nodes:
            self.until(lambda node=node: not node.processes(), f"an empty {node.name}")  # type: ignore[misc]
            node.renew()


@contextmanager
def slurm_cluster(library: Path, *, nodes: int = 2, gpus: int = 8) -> Iterator[Cluster]:
    """Run a cluster inside the block; afterwards no process, folder or cgroup of it is left.

    Args:
        library: the folder of the stand-in NVML.
        nodes: how many nodes it has, each with a host name of its own.
        gpus: how many stand-in GPUs each node has.
    """
    with ExitStack() as ends:
        root = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="dsr1-slurm-")))
        ports = slurm_settings.free_ports(nodes + 1)
        names = [f"dsr1-{ports[0]}-{number}" for number in range(1, nodes + 1)]
        config = slurm_settings.write(root, names, ports, gpus)
        made = [Node(name, i, root, config, library, gpus) for i, name in enumerate(names, 1)]
        cluster = Cluster(root, config, made, library)
        log = root / "log" / "daemons"
        munge = [f"--{name}-file={root}/munge/{name}" for name in ("key", "pid", "seed")]
        munge += [f"--socket={root}/munge/socket", "--force", "--num-threads=2"]
        daemons = []
        for command in (["munged", "-F", *munge], ["slurmctld", "-D", "-c", "-f", str(config)]):
            daemons.append(started(command, config, log))
            ends.callback(end, daemons[-1])
        for node in made:
            ends.callback(slurm_settings.remove_cgroups, node.name)
            ends.callback(node.end)
            node.start()
        _wait_until_up(cluster, [*daemons, *(node.slurmd for node in made)])
        yield cluster


def _wait_until_up(cluster: Cluster, daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until all nodes are idle; the error has what the daemons have logged."""
    deadline = time.monotonic() + _PATIENCE_S
    while not cluster.idle():
        if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
            logs = sorted((cluster.root / "log").iterdir())
            told = "\n".join(f"{path.name}:\n{path.read_text()}" for path in logs)
            raise AssertionError(f"the Slurm cluster did not start\n{told}")
        time.sleep(0.05)
    for node in cluster.nodes:
        node.hold()
