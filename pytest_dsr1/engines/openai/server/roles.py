"""Disaggregated servers: each is a step of Slurm on nodes of its own, behind one that passes requests on.

As in TensorRT-LLM's examples/disaggregated/slurm/benchmark (03bfa3cc): each server is a trtllm-serve with its
own options file, without the variable UCX_TLS, and `trtllm-serve disaggregated` runs on the first node.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.facts import RoleServer
from pytest_dsr1.engines.openai.disaggregated import READS, WRITES, Placed
from pytest_dsr1.engines.openai.server.command import (
    LaunchCommand,
    Program,
    in_step,
    launch_command,
    planned_program,
)
from pytest_dsr1.engines.openai.server.port import can_choose, program_of
from pytest_dsr1.engines.openai.server.process import (
    LOG,
    SCRIPT,
    Server,
    await_addresses,
    await_ready,
    next_steps,
    ready_to_start,
    started,
)
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import Place, beside_words
from pytest_dsr1.errors import EngineError, InvalidRunError
from pytest_dsr1.machine.nodes.allocation import addresses, allocation
from pytest_dsr1.records import Observer
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import shell_comment

FRONT_END = "disaggregated.yaml"
"""The file that tells `trtllm-serve disaggregated` where the servers are."""
_EVERYWHERE = "0.0.0.0"  # noqa: S104  (the other nodes must reach a server)
_UCX = "UCX_TLS"
"""Containers set it for MPI, and the KV cache then takes a slow way between the nodes (start_worker.sh)."""
_PLANNED_PORT = 8001
_OTHER_PORTS = "# pytest-dsr1 looks for free ports, or lets the servers choose."
_END_ALL = ("started=", "trap 'kill $started' EXIT", "trap exit HUP INT TERM")
"""In dash, a signal that is not trapped skips the trap of EXIT, and `jobs -p` prints nothing in one."""
_REQUEST_S = 7200
"""The longest time of a request (start_server.sh): not that of one run, because servers are kept."""


def commands(scenario: Scenario) -> tuple[LaunchCommand, ...]:
    """Return what a scenario starts its servers with, apart from ports, nodes and the number of servers.

    Raises:
        UserError: a server does not have some of its options.
    """
    roles = [_serving(scenario, role) for role in OpenAi.of(scenario).roles]
    return (*(launch_command(each, 0) for each in roles), _front_end(scenario, 0, {}))


def script(job: Job) -> Iterator[str]:
    """Yield what a plan says about the servers, as comments; the nodes are not known yet.

    Raises:
        UserError: a server does not have some of its options.
    """
    yield shell_comment("disaggregated servers: each is a step of Slurm on nodes of its own")
    program = planned_program(job)
    addresses = [f"NODE{number}" for number in range(1, job.scenario.hardware.nodes + 1)]
    for about, command in _by_hand(job, addresses, program):
        yield shell_comment(about)
        yield command.comment()


def _by_hand(
    job: Job, addresses: Sequence[str], program: Program | None
) -> Iterator[tuple[str, LaunchCommand]]:
    """Yield all servers, each in words and with its command at a planned port; the last is the front end."""
    urls: dict[str, list[str]] = {}
    for port, each in enumerate(_placed(job.scenario), _PLANNED_PORT):
        urls.setdefault(each.role, []).append(f"{addresses[each.first]}:{port}")
        where = f"node {each.first + 1}" if each.nodes == 1 else f"nodes {each.first + 1} to {_last(each)}"
        about = f"{each.role} server {each.number}, on {where} of the job:"
        yield about, _command(job, each, port, None, program)
    front = _in_its_step(_front_end(job.scenario, _PLANNED_PORT - 1, urls), job)
    yield "the front end, which passes requests on, on node 1:", front


def _shell_script(job: Job, addresses: Sequence[str], program: Program) -> str:
    """Return a script that runs all servers by hand until Ctrl-C, and then ends them."""
    *servers, (_, front) = _by_hand(job, addresses, program)
    files = {command.file: command.file_lines() for _, command in servers}
    started = (f'{command.shell()} &\nstarted="$started $!"' for _, command in servers)
    return "\n".join([_OTHER_PORTS, *chain(*files.values()), *_END_ALL, *started, front.script()])


def _placed(scenario: Scenario) -> list[Placed]:
    asked = OpenAi.of(scenario).disaggregated
    assert asked is not None
    return asked.placed(scenario.hardware.nodes)


def _last(each: Placed) -> int:
    return each.first + each.nodes


@contextmanager
def launched_roles(job: Job, observer: Observer) -> Iterator[Server]:
    """Start all servers, yield the one that passes requests on when all are ready, and end them.

    Raises:
        EngineError: a server cannot be started, died, or was not ready in time.
    """
    scenario, engine = job.scenario, OpenAi.of(job.scenario)
    program = program_of(job, observer)
    placed = _placed(scenario)
    ready_to_start(job, _command(job, placed[0], 0, None, program))
    hosts = _hosts(scenario)
    nodes = list(hosts)
    text = _shell_script(job, list(hosts.values()), program)
    write_atomically(job.artifacts / SCRIPT, text, private=True)
    limit_s = engine.startup_timeout_s
    with ExitStack() as stack, ExitStack() as stopping:  # all are told to stop before one is waited for
        servers: list[Server] = []
        reporting: list[tuple[Server, Path]] = []
        for each in placed:
            alone = engine.roles[each.role]
            report = f"{each.name}.addr" if can_choose(alone, program) else None
            port = 0 if report else job.free_port(each.first)
            command = _command(job, each, port, report, program)
            observer.phase("starting", command.shell())
            log = job.artifacts / f"{each.name}.log"
            env = ready_to_start(job, command)
            server = stack.enter_context(started(job, env, command, log, alone))
            stopping.callback(server.child.begin_stop)
            its = nodes[each.first : _last(each)]
            server.about = RoleServer(each.role, each.number, its, each.nodes * each.per_node)
            server.who = f"{each.role} server {each.number} on {' and '.join(its)}"
            server.steps = _steps(each.role, alone)
            server.url = f"http://{hosts[its[0]]}:{port}"
            servers.append(server)
            if report:
                reporting.append((server, job.artifacts / report))
        chosen, limit_s = await_addresses(reporting, limit_s, observer)
        for (one, _), address in zip(reporting, chosen, strict=True):
            one.url = f"{one.url.rpartition(':')[0]}:{address.rpartition(':')[2]}"
        await_ready(servers, limit_s, observer)
        urls = {
            role: [one.url.removeprefix("http://") for one in servers if one.about.role == role]
            for role in engine.roles
        }
        port = job.free_port(0)
        command = _in_its_step(_front_end(scenario, port, urls), job)
        observer.phase("starting", command.shell())
        env = ready_to_start(job, command)
        front = stack.enter_context(started(job, env, command, job.artifacts / LOG, engine))
        front.url = f"http://127.0.0.1:{port}"
        front.who = f"the front end on {nodes[0]}"
        front.behind = tuple(servers)
        await_ready([front], limit_s, observer)
        yield front


def _hosts(scenario: Scenario) -> dict[str, str]:
    """Return the addresses of the scenario's nodes, by their names.

    Raises:
        EngineError: there is no Slurm job, or Slurm does not know its nodes.
    """
    try:
        job = allocation(os.environ)
        nodes = () if job is None else job.nodes[: scenario.hardware.nodes]
        hosts = addresses(nodes, os.environ) if nodes else []
    except InvalidRunError as error:
        raise EngineError(f"{scenario.name}: {error}") from None
    if not nodes:
        raise EngineError(
            f"{scenario.name}: disaggregated servers need a Slurm job of {scenario.hardware.nodes} nodes: "
            f"pytest-dsr1 sbatch {scenario.name}"
        )
    found = dict(zip(nodes, hosts, strict=True))
    if six := {node: host for node, host in found.items() if ":" in host}:
        said = " and ".join(f"{host} of {node}" for node, host in six.items())
        raise EngineError(
            f"{scenario.name}: expected addresses of IPv4 or names, because trtllm-serve disaggregated takes "
            f"no others; Slurm has {said} (NodeAddr in scontrol show node)"
        )
    return found


def _serving(scenario: Scenario, role: str) -> Scenario:
    """Return the scenario as if a server of the role served alone."""
    return scenario.model_copy(update={"engine": OpenAi.of(scenario).roles[role]})


def _command(job: Job, each: Placed, port: int, report: str | None, program: Program | None) -> LaunchCommand:
    """Return the command of a server, as Slurm starts it."""
    command = launch_command(
        _serving(job.scenario, each.role),
        port,
        program=program,
        report=report,
        host=_EVERYWHERE,
        file=f"{each.role}.yaml",
    )
    place = Place(f"dsr1-{each.name}", each.first, each.nodes, each.per_node)
    return in_step(command, job, place, without=None if _UCX in command.environment else _UCX)


def _front_end(scenario: Scenario, port: int, urls: Mapping[str, Sequence[str]]) -> LaunchCommand:
    """Return the command of the server that passes requests on.

    Args:
        scenario: the scenario.
        port: where it listens.
        urls: of the servers, by role.
    """
    engine = OpenAi.of(scenario)
    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": port, "backend": "pytorch"}
    for role, key in ((READS, "context_servers"), (WRITES, "generation_servers")):
        options[key] = {"num_instances": len(urls.get(role, ())), "urls": list(urls.get(role, ()))}
    limits = (("-t", engine.startup_timeout_s), ("-r", _REQUEST_S))
    words = [word for option, limit_s in limits for word in (option, str(math.ceil(limit_s)))]
    argv = ["trtllm-serve", "disaggregated", "-c", FRONT_END, *words]
    return LaunchCommand(argv, dict(engine.environment), options=options, file=FRONT_END)


def _in_its_step(command: LaunchCommand, job: Job) -> LaunchCommand:
    return replace(command, step=beside_words(job, command.environment, "dsr1-front-end"))


def _steps(role: str, alone: OpenAi) -> Mapping[str, str]:
    """Return the next steps for a server of a role, with the keys of its options."""
    cache = alone.llm_api.kv_cache_config
    share = None if cache is None else cache.free_gpu_memory_fraction
    steps = next_steps(alone.model_copy(update={"gpu_memory_fraction": share}))
    renamed = ("engine.gpu_memory_fraction", "engine.llm_api.kv_cache_config.free_gpu_memory_fraction")
    return {
        family: step.replace(*renamed).replace("engine.", f"engine.disaggregated.{role}.")
        for family, step in steps.items()
    }
