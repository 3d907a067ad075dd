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
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.facts import RoleServer
from pytest_dsr1.engines.openai.disaggregated import READS, WRITES, Placed
from pytest_dsr1.engines.openai.server.command import LaunchCommand, in_step, launch_command
from pytest_dsr1.engines.openai.server.port import can_choose, free_port, offered
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
    urls: dict[str, list[str]] = {}
    for port, each in enumerate(_placed(job.scenario), _PLANNED_PORT):
        urls.setdefault(each.role, []).append(f"NODE{each.first + 1}:{port}")
        where = f"node {each.first + 1}" if each.nodes == 1 else f"nodes {each.first + 1} to {_last(each)}"
        yield shell_comment(f"{each.role} server {each.number}, on {where} of the job:")
        yield _command(job, each, port, None).comment()
    yield shell_comment("the server that passes requests on, on node 1:")
    yield _in_its_step(_front_end(job.scenario, 8000, urls), job).comment()


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
    ready_to_start(job, launch_command(_serving(scenario, WRITES), 0))
    hosts = _hosts(scenario)
    nodes = list(hosts)
    known = offered(job, observer)
    limit_s, lines = engine.startup_timeout_s, []
    with ExitStack() as stack:
        servers: list[Server] = []
        reporting: list[tuple[Server, Path]] = []
        for each in _placed(scenario):
            alone = engine.roles[each.role]
            report = f"{each.name}.addr" if can_choose(alone, known) else None
            port = 0 if report else free_port()
            command = _command(job, each, port, report)
            lines += [*command.file_lines(), f"{command.shell()} &"]
            observer.phase("starting", command.shell())
            log = job.artifacts / f"{each.name}.log"
            env = ready_to_start(job, command)
            server = stack.enter_context(started(job, env, command, log, alone))
            its = nodes[each.first : _last(each)]
            server.about = RoleServer(each.role, each.number, its, each.nodes * each.per_node)
            server.who = f"{each.role} server {each.number} on {' and '.join(its)}"
            server.steps = _steps(each.role, alone)
            server.url = f"http://{hosts[its[0]]}:{port}"
            servers.append(server)
            if report:
                reporting.append((server, job.artifacts / report))
        for server in servers:  # before any of them is waited for
            stack.callback(server.child.begin_stop)
        told, limit_s = await_addresses(reporting, limit_s, observer)
        for (one, _), address in zip(reporting, told, strict=True):
            one.url = f"{one.url.rpartition(':')[0]}:{address.rpartition(':')[2]}"
        await_ready(servers, limit_s, observer)
        urls = {
            role: [one.url.removeprefix("http://") for one in servers if one.about.role == role]
            for role in engine.roles
        }
        port = free_port()
        command = _in_its_step(_front_end(scenario, port, urls), job)
        write_atomically(job.artifacts / SCRIPT, "\n".join([*lines, command.script()]), private=True)
        observer.phase("starting", command.shell())
        env = ready_to_start(job, command)
        front = stack.enter_context(started(job, env, command, job.artifacts / LOG, engine))
        front.url, front.who = f"http://127.0.0.1:{port}", "the server that passes requests on"
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
    return dict(zip(nodes, hosts, strict=True))


def _serving(scenario: Scenario, role: str) -> Scenario:
    """Return the scenario as if a server of the role served alone."""
    return scenario.model_copy(update={"engine": OpenAi.of(scenario).roles[role]})


def _command(job: Job, each: Placed, port: int, report: str | None) -> LaunchCommand:
    """Return the command of a server, as Slurm starts it."""
    serving = _serving(job.scenario, each.role)
    command = launch_command(serving, port, report=report, host=_EVERYWHERE, file=f"{each.role}.yaml")
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
    return replace(command, argv=[*beside_words(job, "dsr1-front-end"), *command.argv])


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
