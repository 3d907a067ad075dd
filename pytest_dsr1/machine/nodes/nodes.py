"""The nodes of a run as one machine: each does what :mod:`pytest_dsr1.machine.lease` does on a single one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import GpuReading, MachineInventory, readable
from pytest_dsr1.machine.lease import RESULT_BYTES, Machine, Recorder, look_at_run
from pytest_dsr1.machine.nodes.allocation import ending
from pytest_dsr1.machine.nodes.facts import differing, merged
from pytest_dsr1.machine.nodes.messages import Again, Answer, Command, Look, Measure, Prepare, Request
from pytest_dsr1.machine.nodes.recording import NodesRecorder
from pytest_dsr1.machine.nodes.remote import AgentError, RemoteNode, Start
from pytest_dsr1.machine.nodes.watch import NodeWatch
from pytest_dsr1.machine.probe.values import Probes, unprobed
from pytest_dsr1.machine.setup.ending import restoring
from pytest_dsr1.machine.values import FactValue, Fingerprint, Notify, SetupMode
from pytest_dsr1.scenario.schema.scenario import Scenario

_RELEASE = Command(do="release")


class Nodes:
    """The agents of an allocation, as a context manager; each is started when a scenario first needs it.

    Args:
        names: the nodes; a scenario uses the first ones.
        start: how an agent is started.
        environ: the environment variables of the run.
        notify: shows a sentence to the user at once.
    """

    def __init__(
        self, names: Sequence[str], start: Start, environ: Mapping[str, str], notify: Notify
    ) -> None:
        self._names = names
        self._start = start
        self._environ = environ
        self._notify = notify
        self._agents: dict[str, RemoteNode] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Nodes:
        self._stack.enter_context(restoring(self._end, self._say_why))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        """End all agents. If this process ended first, Slurm would kill them with the batch script."""
        agents = list(self._agents.values())
        self._agents.clear()
        for agent in agents:
            agent.end_requests()
        for agent in agents:
            agent.close()

    def _say_why(self, number: signal.Signals) -> None:
        """Say why a signal ends pytest, after the GPUs are restored."""
        why = ending(self._environ) or "look at the job: scontrol show job"
        self._notify(f"{number.name} ends pytest, and the run with it; GPUs are restored: {why}")

    def look(
        self,
        scenario: Scenario,
        setup: SetupMode,
        writes_to: Path,
        bytes_needed: int = RESULT_BYTES,
        *,
        reused: bool = False,
        in_container: bool = False,
    ) -> tuple[Finding, ...]:
        """Return the preflight's findings; with ``reused``, our server is on the GPUs. Changes nothing.

        ``in_container`` as in :class:`~pytest_dsr1.machine.preflight.check.Preflight`.

        Raises:
            InvalidRunError: a node cannot be asked.
        """
        wanted, here = scenario.hardware.nodes, len(self._names)
        of_run = look_at_run(
            scenario, setup, self._environ, writes_to, bytes_needed, in_container=in_container
        )
        if wanted > here:
            message = f"expected {wanted}, and the Slurm job has {here}; ask for more: --nodes={wanted}"
            return (*of_run, Finding("mismatch", "nodes", message))
        shares, visible = self._shares(scenario), self._visible(scenario)
        with _written_into(writes_to) if wanted > 1 else nullcontext("") as shared:
            request = partial(Look, visible=visible, setup=setup, reused=reused, shared=shared)
            answers = self._ask(scenario, lambda node: request(scenario=shares[node]))
        return (*of_run, *_findings(answers))

    @contextmanager
    def prepared(self, scenario: Scenario, setup: SetupMode) -> Iterator[Machine]:
        """Lock the GPUs of all nodes and set them up; restore them at the end.

        Raises:
            InvalidRunError: it is not possible on a node; the others are restored.
        """
        shares, visible = self._shares(scenario), self._visible(scenario)
        request = partial(Prepare, visible=visible, setup=setup)
        try:
            answers = self._ask(scenario, lambda node: request(scenario=shares[node]))
            yield self._machine(scenario, answers)
        finally:
            self._release()

    def again(self, scenario: Scenario) -> Machine:
        """Return the same GPUs, locked and set up, for another scenario that needs the same."""
        shares = self._shares(scenario)
        return self._machine(scenario, self._ask(scenario, lambda node: Again(scenario=shares[node])))

    def free_port(self, scenario: Scenario, node: int) -> int:
        """Return a port that no process listens at now on a node of the scenario, counted from 0.

        Raises:
            InvalidRunError: the node cannot be asked.
        """
        agent = self._used(scenario)[node]
        agent.send(Command(do="port"))
        return agent.answer().port

    def probe(
        self, scenario: Scenario, log: Path, gpus: Mapping[str, Sequence[GpuReading]]
    ) -> dict[str, Probes]:
        """Measure what the prepared GPUs can do, on all nodes at the same time; return that by node.

        Args:
            scenario: whose GPUs.
            log: the file that keeps the output; each of several nodes has its own, such as
                ``probe-before-node2.log``.
            gpus: those to measure, by node.
        """

        def request(node: str) -> Request:
            own = log.with_name(f"{log.stem}-{node}{log.suffix}") if scenario.hardware.nodes > 1 else log
            return Measure(log=str(own))

        agents = self._used(scenario)
        answers, problems = asked(agents, request)
        found: dict[str, Probes] = {}
        for agent, (node, of_node) in zip(agents, gpus.items(), strict=True):
            probes = answers[agent.name].probes if agent.name in answers else None
            why = problems.get(agent.name, "").removeprefix(f"{agent.name}: ")
            found[node] = probes or unprobed((gpu.index for gpu in of_node), why)
        return found

    def recorder(self, scenario: Scenario, path: Path) -> NodesRecorder:
        """Return a recorder of the telemetry of all nodes."""
        return NodesRecorder(self._used(scenario), path, several=scenario.hardware.nodes > 1)

    def watch(self, scenario: Scenario, recorder: NodesRecorder) -> NodeWatch:
        """Return a watch on all nodes, which ends the run when one is lost."""
        return NodeWatch(
            self._used(scenario), self._environ, recorder, self._notify, several=scenario.hardware.nodes > 1
        )

    def _machine(self, scenario: Scenario, answers: Mapping[str, Answer]) -> Machine:
        return NodesMachine(self, scenario, answers)

    def _shares(self, scenario: Scenario) -> dict[str, Mapping[str, Any]]:
        """Return the part of the scenario of each node."""
        by_node = zip(self._names, scenario.gpus_by_node, strict=False)
        return {node: share(scenario, count) for node, count in by_node}

    def _visible(self, scenario: Scenario) -> str | None:
        """Return CUDA_VISIBLE_DEVICES of this process; each of several nodes has its own."""
        return self._environ.get("CUDA_VISIBLE_DEVICES") if scenario.hardware.nodes == 1 else None

    def _used(self, scenario: Scenario) -> list[RemoteNode]:
        """Return the agents of a scenario's nodes; start those that do not run yet."""
        names = self._names[: scenario.hardware.nodes]
        for name in names:
            if name not in self._agents:
                agent = RemoteNode(name, self._start(name), self._environ, self._notify)
                self._agents[name] = agent
        return [self._agents[name] for name in names]

    def _ask(self, scenario: Scenario, request: Callable[[str], Request]) -> dict[str, Answer]:
        """Return each node's answer, by its name; empty for the only one.

        Raises:
            InvalidRunError: some nodes refuse; the message has each reason.
        """
        agents = self._used(scenario)
        answers, problems = asked(agents, request)
        if problems:
            raise InvalidRunError("\n".join(problems.values()))
        several = scenario.hardware.nodes > 1
        return {name if several else "": answer for name, answer in answers.items()}

    def _release(self) -> None:
        _, problems = asked(list(self._agents.values()), lambda _: _RELEASE)
        for node, problem in problems.items():
            self._notify(f"{problem}\nits GPUs may still be set up; there, as root: pytest-dsr1 restore")
            if self._agents[node].ended:  # the next scenario starts another
                self._agents.pop(node).close()


def asked(
    agents: Sequence[RemoteNode], request: Callable[[str], Request]
) -> tuple[dict[str, Answer], dict[str, str]]:
    """Ask all agents at the same time; return the answers by node, and why there is none, which names it."""
    answers: dict[str, Answer] = {}
    problems: dict[str, str] = {}
    waiting = []
    for agent in agents:
        try:
            agent.send(request(agent.name))
            waiting.append(agent)
        except AgentError as error:
            problems[agent.name] = str(error)
    for agent in waiting:
        try:
            answers[agent.name] = agent.answer()
        except AgentError as error:
            problems[agent.name] = str(error)
    return answers, problems


def share(scenario: Scenario, gpus: int) -> Mapping[str, Any]:
    """Return the scenario of one of its nodes, with this number of GPUs, as JSON."""
    of_node = scenario.hardware.model_copy(update={"count": gpus, "nodes": 1})
    body: Mapping[str, Any] = json.loads(scenario.model_copy(update={"hardware": of_node}).model_dump_json())
    return body


@contextmanager
def _written_into(folder: Path) -> Iterator[str]:
    """Write a file into a folder, or into its nearest parent that exists; empty if it cannot be written."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(NamedTemporaryFile(dir=host.existing(folder), prefix=".dsr1-shared-"))
        except OSError:  # the run itself will say so
            yield ""
            return
        yield file.name


def _findings(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    for node, answer in answers.items():
        for finding in answer.findings:
            yield replace(finding, node=node)


class NodesMachine(Machine):
    """The GPUs of a scenario on all its nodes, locked and set up; made by :meth:`Nodes.prepared`."""

    def __init__(self, nodes: Nodes, scenario: Scenario, answers: Mapping[str, Answer]) -> None:
        self._nodes = nodes
        facts = {node: answer.facts or {} for node, answer in answers.items()}
        by_node = dict(zip(answers, scenario.gpus_by_node, strict=True))
        self._own: Mapping[str, FactValue] = merged(facts, by_node)
        findings = (*_findings(answers), *differing(facts))
        inventories = {node: answer.inventory or MachineInventory() for node, answer in answers.items()}
        used = {node: inventory.used(by_node[node]) for node, inventory in inventories.items()}
        self._probed = {node: readable(gpus) for node, gpus in used.items()}
        gpus = tuple(gpu for of_node in used.values() for gpu in of_node)
        uuids = tuple(gpu.uuid for gpu in gpus)
        first = next(iter(inventories.values()))
        of_all = replace(first, installed=len(gpus), uuids=uuids, gpus=gpus)
        super().__init__(scenario, of_all, findings, {}, {})

    def of(self, scenario: Scenario) -> Machine:
        """Return the same GPUs, locked and set up, for another scenario that needs the same."""
        return self._nodes.again(scenario)

    def free_port(self, node: int) -> int:
        """Return a port that no process listens at now on a node of the run, counted from 0."""
        return self._nodes.free_port(self._scenario, node)

    @property
    def probed(self) -> Mapping[str, tuple[GpuReading, ...]]:
        """The GPUs that :meth:`probe` measures: those that can be read. The only node has no name."""
        return self._probed

    def probe(self, log: Path, _stopped: object = None, /) -> dict[str, Probes]:
        """Measure what the GPUs can do, by node. Never raises: what is missing is named with the reason."""
        return self._nodes.probe(self._scenario, log, self._probed)

    @contextmanager
    def watched(self, path: Path, _out: object = None, /) -> Iterator[Recorder]:
        """Record telemetry of all nodes to the file while the block runs; it is complete after it."""
        recorder = self._nodes.recorder(self._scenario, path)
        with recorder, self._nodes.watch(self._scenario, recorder):
            self._recorder = recorder
            yield recorder

    def fingerprint(self, more: Mapping[str, FactValue]) -> Fingerprint:
        """Return what the run ran on; ``more`` adds other facts, such as the dataset's hash."""
        return Fingerprint({**self._own, **more})
