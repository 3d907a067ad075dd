"""One random kill of a part of a run on two nodes of a Slurm cluster, and what is left after it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from tests.helpers.slurm_cluster import FINAL, Cluster
from tests.helpers.slurm_node import Node
from tests.helpers.slurm_runs import PYTEST, Runs

Phase = Literal["starting", "setting up", "measuring", "putting back"]
Target = Literal[
    "pytest",
    "supervisor",
    "agent",
    "srun of an agent",
    "engine",
    "step of the engine",
    "slurmd",
    "job",
    "step",
]

_ANYWHERE: tuple[Target, ...] = ("pytest", "agent", "srun of an agent", "slurmd", "job", "step")
_WITH_ENGINE: tuple[Target, ...] = ("supervisor", "engine", "step of the engine")
_HOWS: dict[Target, tuple[str, ...]] = dict.fromkeys(("job", "step", "step of the engine"), ("scancel",))
_SIGNALS = ("SIGKILL", "SIGTERM")
_AGENT = "pytest_dsr1.machine.nodes.agent"
_PATIENCE_S = 60.0
PUT_BACK = [("1", "700000", "0", "none")] * 8
"""Settings of the GPUs of a node: persistence mode, power limit, vboost, locked clocks."""
_OWN_END = {"FAILED:2:0", "FAILED:143:0", "FAILED:137:0", "FAILED:0:15", "FAILED:0:9"}
"""How a job ends whose pytest was interrupted or killed, with and without a shell around it."""


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        target: what is hit.
        how: the signal, or scancel.
        phase: the part of the run in which it is hit.
        after_s: how long after that part has begun.
        node: the number of the node of the agent or slurmd.
        shell: whether the script's shell waits for pytest, and is not replaced by it.
        by_run: whether what is left for the next run or for ``restore`` is left for a run.
        choice: chooses one of several steps, or parts of a disaggregated engine, 0 to 1.
        disaggregated: whether the engine is servers of two roles, each in a step of its own.
    """

    target: Target
    how: str
    phase: Phase
    after_s: float
    node: int
    shell: bool
    by_run: bool
    choice: float
    disaggregated: bool

    @property
    def name(self) -> str:
        """The kill in a table."""
        return f"{self.how} of {self.target}{', two roles' if self.disaggregated else ''}"

    @property
    def ends_an_agent(self) -> bool:
        """Whether an agent may get SIGKILL: the next run or ``restore`` puts its GPUs back.

        Slurm (22.05) sends it when an agent's srun ends early, and to a step that is canceled. When pytest
        gets it, so does each srun, at the end of the batch script.
        """
        killed = self.how == "SIGKILL" and self.target in {"agent", "pytest"}
        return killed or self.target in {"srun of an agent", "step"}


def drawn(seed: int) -> Kill:
    """Return the kill of a seed."""
    draw = random.Random(seed)
    target = draw.choice((*_ANYWHERE, *_WITH_ENGINE))
    phases: tuple[Phase, ...] = ("starting", "setting up", "measuring", "putting back")
    phase = "measuring" if target in _WITH_ENGINE else draw.choice(phases)
    return Kill(
        target,
        draw.choice(_HOWS.get(target, _SIGNALS)),
        phase,
        draw.uniform(0, 1),
        draw.choice((1, 2)),
        shell=draw.random() < 0.5,
        by_run=draw.random() < 0.3,
        choice=draw.random(),
        disaggregated=draw.random() < 0.4,
    )


@dataclass(frozen=True)
class Outcome:
    """What a kill did.

    Attributes:
        hit: whether there was still something to kill.
        end: Slurm's state of the job, with its exit status and signal.
        restored: how many nodes ``restore`` or the next run had to put back.
        wrong: what was left, or said wrongly; empty if all is well.
    """

    hit: bool
    end: str
    restored: int
    wrong: tuple[str, ...]


def carried_out(kill: Kill, cluster: Cluster, folder: Path) -> Outcome:
    """Start a run, kill, and look at what is left. The folder is empty; the cluster idle and clean."""
    runs = Runs(cluster, folder)
    _write(kill, runs)
    submit = runs.submit_held if kill.phase == "measuring" else runs.submit
    job = submit(f"{'' if kill.shell else 'exec '}{PYTEST}", "--nodes=2")
    _reach(kill, cluster, runs, job)
    time.sleep(kill.after_s)
    hit = _hit(kill, cluster, job)
    runs.held.unlink(missing_ok=True)
    state = cluster.wait(job)
    end = f"{state}:{cluster.facts(job)['ExitCode']}"
    wrong = [*_still_running(cluster), *_said(kill, end, cluster.output(job), hit=hit)]
    changed = [node for node in cluster.nodes if node.journals]
    if changed and kill.ends_an_agent:
        if kill.target != "pytest" and "pytest-dsr1 restore" not in _words(cluster.output(job)):
            wrong.append("pytest does not say that GPUs may still be set up")
        wrong += _put_back_later(kill, cluster, runs, changed)
    wrong += [problem for node in cluster.nodes for problem in _left(node)]
    if wrong:
        wrong.append(cluster.output(job)[-3000:])
    return Outcome(hit, end, len(changed), tuple(wrong))


def _write(kill: Kill, runs: Runs) -> None:
    """Write the scenario of the run."""
    if kill.disaggregated:
        runs.write_disaggregated()
    else:
        runs.write(nodes=2)


def _reach(kill: Kill, cluster: Cluster, runs: Runs, job: int) -> None:
    """Wait until the phase has begun, and the target is there; or the job has ended."""
    machine = cluster.node(kill.node).machine
    begun: dict[Phase, Callable[[], object]] = {
        "starting": lambda: _processes(kill, cluster, "pytest"),
        "setting up": machine.commands,
        "measuring": runs.measures,
        "putting back": lambda: any("--vboost 0" in command for command in machine.commands()),
    }
    reached = begun[kill.phase]
    cluster.until(lambda: reached() or cluster.state(job) in FINAL, kill.phase, job)
    cluster.until(lambda: _there(kill, cluster, job) or cluster.state(job) in FINAL, kill.name, job)


def _there(kill: Kill, cluster: Cluster, job: int) -> Sequence[psutil.Process | str | Node]:
    """Return the processes, jobs or steps of which one is to be hit."""
    if kill.target == "slurmd":
        return [cluster.node(kill.node)]
    if kill.target == "job":
        return [str(job)] if cluster.state(job) not in FINAL else []
    if kill.target == "step":
        own = [step for step in cluster.steps() if step.startswith(f"{job}.")]
        return [step for step in own if not step.endswith(".batch")]
    if kill.target == "step of the engine":
        named = cluster.run("squeue", "--steps", "--noheader", f"--jobs={job}", "--format=%i %j").splitlines()
        steps = dict(line.split() for line in named)
        return [step for step, name in steps.items() if name.startswith("dsr1-") and name != "dsr1-agent"]
    return _processes(kill, cluster, kill.target)


def _hit(kill: Kill, cluster: Cluster, job: int) -> bool:
    """Kill the target; return whether the job still had it."""
    found = _there(kill, cluster, job)
    if not found:
        return False
    one = found[int(kill.choice * len(found))]
    try:
        if isinstance(one, Node):
            one.slurmd.send_signal(signal.Signals[kill.how])
            one.slurmd.wait()
            one.start()
        elif isinstance(one, str):
            cluster.cancel(one)
        else:
            one.send_signal(signal.Signals[kill.how])
    except (psutil.NoSuchProcess, AssertionError):  # it has just ended
        return False
    return True


def _processes(kill: Kill, cluster: Cluster, target: Target) -> list[psutil.Process]:
    """Return the process of the job that is this target; of several the first, which started the others.

    The parts of a disaggregated engine start none of each other, so of them it returns each.
    """
    numbers = (kill.node,) if target == "agent" else (1, 2)
    found = []
    for process in (one for number in numbers for one in cluster.node(number).processes()):
        try:
            if _is(process.cmdline(), target, cluster.node(kill.node).name):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    apart = kill.disaggregated and target in _WITH_ENGINE
    return sorted(found, key=psutil.Process.create_time)[: None if apart else 1]


def _is(command: list[str], target: Target, node: str) -> bool:
    program = Path(command[0]).name if command else ""
    supervisor = any(word.endswith("process/supervisor.py") for word in command)
    match target:
        case "pytest":
            return command[1:3] == ["-m", "pytest"]
        case "supervisor":
            return supervisor
        case "agent":
            return program != "srun" and _AGENT in command
        case "srun of an agent":
            return program == "srun" and _AGENT in command and f"--nodelist={node}" in command
        case _:
            ours = any("trtllm-bench" in word or "trtllm-serve" in word for word in command)
            return program != "srun" and not supervisor and ours


def _words(text: str) -> str:
    """Return a text in one line, as it was before it was wrapped."""
    return " ".join(text.split())


def _still_running(cluster: Cluster) -> Iterator[str]:
    """Yield each process that does not end."""
    until_s = time.monotonic() + _PATIENCE_S
    while (left := [one for node in cluster.nodes for one in node.processes()]) and (
        time.monotonic() < until_s
    ):
        time.sleep(0.05)
    for process in left:
        try:
            yield f"still runs: {process.pid} {process.cmdline()}"
        except psutil.NoSuchProcess:
            continue


def _said(kill: Kill, end: str, output: str, *, hit: bool) -> Iterator[str]:
    """Yield what is wrong about how pytest ended, and about its words."""
    for bad in ("Traceback (most recent call last)", "INTERNALERROR"):
        if bad in output:
            yield f"pytest showed {bad}"
    lost = hit and kill.phase == "measuring" and kill.target not in {"slurmd"}
    own = kill.target in {"pytest", "step"}
    if end == "COMPLETED:0:0":
        if lost:
            yield "a run that lost a part passed"
        if "  PASS    total output throughput" not in output:
            yield "a run without a verdict ended with 0"
    elif end == "FAILED:10:0":
        if "  INVALID " not in output:
            yield "exit status 10 without a sentence"
    elif end.startswith("CANCELLED"):
        if kill.target not in {"job", "step"}:
            yield f"the job ended as {end}"
    elif not (own and end in _OWN_END):
        yield f"the job ended as {end}"


def _put_back_later(kill: Kill, cluster: Cluster, runs: Runs, changed: list[Node]) -> Iterator[str]:
    """Let the next run or ``pytest-dsr1 restore`` put GPUs back; yield what it says if it fails."""
    if kill.by_run:
        job = runs.submit(f"exec {PYTEST}", "--nodes=2")
        if cluster.wait(job) != "COMPLETED":
            yield f"the next run failed: {cluster.output(job)}"
        return
    for node in changed:
        command = [sys.executable, "-c", "from pytest_dsr1.cli.main import main; main()", "restore"]
        environ = node.machine.environ({**cluster.environment, **runs.environment})
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"restore on {node.name}: {done.stdout}{done.stderr}"


def _left(node: Node) -> Iterator[str]:
    """Yield what a run has left on a node."""
    if node.machine.settings() != PUT_BACK:
        yield f"{node.name}: settings {node.machine.settings()}"
    if node.journals:
        yield f"{node.name}: journals {node.journals}"
    if node.locks:
        yield f"{node.name}: locks {node.locks}"
