"""A server that the engine starts: its start and its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_dsr1.engines.facts import RoleServer
from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.server.command import LaunchCommand, in_step, launch_command
from pytest_dsr1.engines.openai.server.port import ADDRESS, can_choose, program_of, reported
from pytest_dsr1.engines.openai.server.random_model import model_folder, write_model
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import in_container, step_environment
from pytest_dsr1.engines.trtllm_options.file import file_text, rejection
from pytest_dsr1.errors import EngineError
from pytest_dsr1.process.child import Child, signal_name
from pytest_dsr1.process.log import memory, why
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.waiting import Waiting
from pytest_dsr1.records import Observer
from pytest_dsr1.storage.files import write_atomically

LOG = "server.log"
SCRIPT = "server.sh"
_LOOK_S = 0.25
_GRACE_S = 20.0
_HEALTH = "/health"
"""All these servers answer 200 when they are ready. vLLM and trtllm-serve listen once the model is loaded
(vLLM 0.33.0 entrypoints/serve/instrumentator/health.py, TensorRT-LLM serve/openai_server.py). SGLang
answers 503 until it has warmed up. Then it generates a token for the answer, like /health_generate, which
takes a second (0.5.23, srt/entrypoints/http_server.py). transformers serve 5.23.0 has the page too."""
_MODELS = "/v1/models"
"""The page for servers without /health: all list their models, mostly as soon as they are loaded."""


@dataclass
class Server:
    """A running server.

    Attributes:
        url: its address.
        steps: the next steps that only its kind of server knows, by the name of the family of causes.
        command: its command.
        who: it is, in messages.
        engine: the settings that it was started with.
        behind: the servers that answer for it, if it only passes requests on; those that write come first.
        about: its role, its nodes and its GPUs, for one of disaggregated servers.
        reader: remembers the cause of a failure.
    """

    name: str
    url: str
    child: Child
    log: Path
    steps: why.NextSteps
    command: LaunchCommand
    engine: OpenAi
    who: str = "the server"
    behind: tuple[Server, ...] = ()
    about: RoleServer = field(default_factory=RoleServer)
    reader: LogReader = field(default_factory=LogReader)

    def for_scenario(self, name: str) -> Server:
        """Return the server, and those behind it, with the name of another scenario in their messages."""
        return replace(self, name=name, behind=tuple(each.for_scenario(name) for each in self.behind))

    @property
    def site(self) -> Site:
        """Its address and credentials."""
        return site(self.engine, self.url)

    @property
    def prefix(self) -> str:
        """What stands before a line of its log on the terminal: its role and number, if it has a role."""
        return f"{self.about.role} {self.about.number}: " if self.about.role else ""

    @property
    def every(self) -> tuple[Server, ...]:
        """The servers behind it, and itself."""
        return (*self.behind, self)

    @property
    def writer(self) -> Server:
        """The server that writes the answers; of several, the first."""
        return self.every[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the commands of all servers leave open, and logs that could not be searched."""
        found = [warning for each in self.every for warning in each.command.warnings]
        found += [each.child.unsearched for each in self.every if each.child.unsearched]
        return tuple(dict.fromkeys(found))

    def read(self, timeout_s: float = 0.0) -> list[str]:
        """Read and return the lines logged since the last call."""
        lines = [line.text for line in self.child.read(timeout_s)]
        for line in lines:
            self.reader.take(line)
        return lines

    def check(self, grace_s: float = 0.0) -> None:
        """Check that the server still runs, and those behind it.

        Args:
            grace_s: the time to wait for its end, because a dying process closes its connections first.

        Raises:
            EngineError: one of them has ended.
        """
        for each in self.every:
            each.read()
        check_all(self.every, grace_s)

    def ended(self) -> EngineError:
        """Return the error of a server that has ended."""
        code = self.child.returncode or 0
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit status {code}"
        reason = self._rejection() or why.explained(self.reader, code, self.steps, self.command.argv[0])
        if self.reader.cause is None and code < 0:
            how, because = str(reason), self.command.argv[0]
        else:
            because = f"it {reason}" if reason else self.command.argv[0]
        return EngineError(f"{self.name}: {self.who} {how}: {because}{self.quoted()}")

    def tail(self) -> str:
        """Return the causes that the logs show, and their relevant lines, for the end of a message."""
        for each in self.every:
            each.read()
        if ill := [each for each in self.every if each.symptom]:
            return "".join(f"; {each.who} {each.symptom}{each.quoted()}" for each in ill)
        return self.quoted()

    def quoted(self) -> str:
        """Return what a message says about the log itself, with its relevant lines."""
        unsearched = self.child.unsearched
        return (f"; {unsearched}" if unsearched else "") + self.reader.quoted(self.log)

    @property
    def symptom(self) -> str | None:
        """The cause that its log shows, a phrase after ``who``; None if it shows none."""
        return self._rejection() or why.symptom(self.reader, self.steps)

    def _rejection(self) -> str | None:
        cause, dialect = self.reader.cause, self.command.dialect
        return None if cause is None or dialect is None else rejection(cause, dialect, self.command.file)


def check_all(servers: Sequence[Server], grace_s: float = 0.0) -> None:
    """Check that all servers still run; the log of one that runs is not read.

    Args:
        servers: in the order in which they may cause each other's end.
        grace_s: the time to wait for the end of one.

    Raises:
        EngineError: one has ended; of several, one whose log shows a cause.
    """
    limit_s = time.monotonic() + grace_s
    while all(each.child.returncode is None for each in servers) and time.monotonic() < limit_s:
        time.sleep(0.02)
    ended = [each for each in servers if each.child.returncode is not None]
    for each in ended:
        while each.read():
            pass
    if ended:
        raise min(ended, key=lambda each: each.symptom is None).ended()


def next_steps(engine: OpenAi) -> why.NextSteps:
    """Return the next steps that the scenario's options allow, by the name of the family of causes."""
    share = engine.gpu_memory_fraction
    fraction = f"engine.gpu_memory_fraction{f' (now {share:g})' if share else ''}"
    return {
        memory.GPU_MEMORY: f"lower {fraction}, engine.max_batch_size or engine.max_num_tokens",
        memory.KV_CACHE: f"raise {fraction}, lower engine.max_seq_len, or use more GPUs (engine.tp)",
        memory.GPU_IN_USE: (
            f"end the other processes on the GPUs (`nvidia-smi` lists them), or lower {fraction}"
        ),
    }


@contextlib.contextmanager
def launched(job: Job, observer: Observer) -> Iterator[Server]:
    """Start the scenario's server, yield it when it is ready, and end it with all processes it started.

    Raises:
        EngineError: the server cannot be started, died, or was not ready in time.
    """
    scenario, engine = job.scenario, OpenAi.of(job.scenario)
    program = program_of(job, observer)
    chooses = can_choose(engine, program)
    port = 0 if chooses else job.free_port(0)
    report = ADDRESS if chooses else None
    command = in_step(launch_command(scenario, port, program=program, report=report), job)
    env = ready_to_start(job, command)
    if scenario.model.random_weights is not None:
        observer.phase("starting", "writing the model's configuration and tokenizer")
        write_model(scenario, model_folder(scenario, os.environ))
    write_atomically(job.artifacts / SCRIPT, command.script(), private=True)
    observer.phase("starting", command.shell())
    with started(job, env, command, job.artifacts / LOG, engine) as server:
        server.url = f"http://127.0.0.1:{port}"
        limit_s = engine.startup_timeout_s
        if chooses:
            path = job.artifacts / ADDRESS
            [address], limit_s = await_addresses([(server, path)], limit_s, observer)
            server.url = f"http://{address}"
        await_ready([server], limit_s, observer)
        yield server


def ready_to_start(job: Job, command: LaunchCommand) -> dict[str, str]:
    """Return the environment of a command that can be started.

    Raises:
        EngineError: its program is not installed, or a key of the scenario is not set.
    """
    site(OpenAi.of(job.scenario), "http://127.0.0.1")
    env = step_environment(job, command.environment)
    here = command.words[:1] if in_container(job) else [*command.step[:1], command.argv[0]]
    missing = [program for program in here if shutil.which(program, path=env.get("PATH")) is None]
    if missing:
        other = "set engine.command"
        if OpenAi.of(job.scenario).disaggregated is not None:
            image = "--container-image=IMAGE in slurm.srun of the site file"
            other = f"name an image that has it: {image}"
        raise EngineError(
            f"{job.scenario.name}: {missing[0]} is not installed (not found in PATH); install it, or {other}"
        )
    return env


@contextlib.contextmanager
def started(
    job: Job, env: Mapping[str, str], command: LaunchCommand, log: Path, engine: OpenAi
) -> Iterator[Server]:
    """Start a server that is not ready yet, and has no address; end it with all processes it started."""
    if command.options:
        write_atomically(job.artifacts / command.file, file_text(command.options), private=True)
    with Child(command.words, env=env, cwd=job.artifacts, log=log, grace_s=_GRACE_S) as child:
        yield Server(job.scenario.name, "", child, log, next_steps(engine), command, engine)


def await_addresses(
    servers: Sequence[tuple[Server, Path]], limit_s: float, observer: Observer
) -> tuple[list[str], float]:
    """Wait until each server has written its address to its file; return them, and the seconds that are left.

    Raises:
        EngineError: a server died, or wrote no address in time.
    """
    if not servers:
        return [], limit_s
    began_s = time.monotonic()
    addresses: dict[Path, str] = {}

    def ask(server: Server) -> str | None:
        path = next(path for one, path in servers if one is server)
        if (address := reported(path)) is None:
            return f"no address in {path.name}"
        addresses[path] = address
        return None

    _wait([server for server, _ in servers], ask, limit_s, observer)
    return [addresses[path] for _, path in servers], max(limit_s - (time.monotonic() - began_s), 1.0)


def await_ready(servers: Sequence[Server], limit_s: float, observer: Observer) -> None:
    """Wait until all servers report that they are healthy, or without that page, list their models.

    Meanwhile the observer gets the lines of their logs.

    Raises:
        EngineError: a server died, or was not ready in time.
    """
    pages: dict[str, str] = {}

    def ask(server: Server) -> str | None:
        where, answer = server.site, "no answer"
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = where.get(pages.setdefault(where.url, _HEALTH))
            if status == http.HTTPStatus.NOT_FOUND and pages[where.url] == _HEALTH:
                pages[where.url] = _MODELS
                status, _ = where.get(_MODELS)
            if status == http.HTTPStatus.OK:
                return None
            answer = f"HTTP {status}"
        return f"GET {where.url}{pages[where.url]}: {answer}"

    _wait(servers, ask, limit_s, observer)
    for server in servers:
        server.read()
        server.reader.enter("running")


def _wait(
    servers: Sequence[Server], ask: Callable[[Server], str | None], limit_s: float, observer: Observer
) -> None:
    """Wait until all servers are as far as asked.

    Args:
        servers: the observer gets the lines of their logs.
        ask: returns what a server lacks; None if nothing.
        limit_s: the longest time, in seconds.
        observer: of the run.

    Raises:
        EngineError: a server died, or was not as far in time.
    """
    waiting = [(server, Waiting(server.reader, limit_s)) for server in servers]
    late = list(waiting)
    while True:
        check_all([every for server in servers for every in server.every])
        while late and (missing := ask(late[0][0])) is None:
            late.pop(0)
        if not late:
            return
        for server, its in waiting:
            for line in (lines := server.read(_LOOK_S / len(servers))):
                if said := its.heard(line):
                    observer.phase("starting", f"{server.prefix}{said}")
            if lines:
                observer.phase("loading", f"{server.prefix}{lines[-1]}")
            if its.hopeless:
                said = f"{server.name}: {server.who} {server.symptom}"
                raise EngineError(f"{said}; {its.given_up}{server.quoted()}")
        server, its = late[0]
        if its.over:
            advice = "if it is only slow, raise engine.startup_timeout_s"
            raise EngineError(
                f"{server.name}: {server.who} was not ready within {limit_s:g} s ({missing}); "
                f"{f'it {server.symptom}' if server.symptom else advice}{server.quoted()}"
            )
