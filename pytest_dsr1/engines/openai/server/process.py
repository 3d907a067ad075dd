"""A server that the engine starts: its start and its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.server.command import LaunchCommand, in_step, launch_command
from pytest_dsr1.engines.openai.server.port import ADDRESS, free_port, reported, server_chooses
from pytest_dsr1.engines.openai.server.random_model import model_folder, write_model
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import in_container, step_environment
from pytest_dsr1.engines.trtllm_options.file import OPTIONS_FILE, file_text, rejection
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
        reader: remembers the cause of a failure.
    """

    name: str
    url: str
    child: Child
    log: Path
    steps: why.NextSteps
    command: LaunchCommand
    reader: LogReader = field(default_factory=LogReader)

    def read(self, timeout_s: float = 0.0) -> list[str]:
        """Read and return the lines logged since the last call."""
        lines = [line.text for line in self.child.read(timeout_s)]
        for line in lines:
            self.reader.take(line)
        return lines

    def check(self, grace_s: float = 0.0) -> None:
        """Check that the server still runs.

        Args:
            grace_s: the time to wait for its end, because a dying process closes its connections first.

        Raises:
            EngineError: the server has ended.
        """
        limit_s = time.monotonic() + grace_s
        while self.child.returncode is None and time.monotonic() < limit_s:
            time.sleep(0.02)
        self.read()
        code = self.child.returncode
        if code is not None:
            while self.read():
                pass
            how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit status {code}"
            reason = self._rejection() or why.explained(self.reader, code, self.steps, self.child.argv[0])
            if self.reader.cause is None and code < 0:
                how, because = str(reason), self.child.argv[0]
            else:
                because = f"it {reason}" if reason else self.child.argv[0]
            raise EngineError(f"{self.name}: the server {how}: {because}{self.quoted()}")

    def tail(self) -> str:
        """Return the cause that its log shows, and its relevant lines, for the end of a message."""
        self.read()
        return (f"; the server {self.symptom}" if self.symptom else "") + self.quoted()

    def quoted(self) -> str:
        """Return what a message says about the log itself, with its relevant lines."""
        unsearched = self.child.unsearched
        return (f"; {unsearched}" if unsearched else "") + self.reader.quoted(self.log)

    @property
    def symptom(self) -> str | None:
        """The cause that its log shows, a phrase after ``the server``; None if it shows none."""
        return self._rejection() or why.symptom(self.reader, self.steps)

    def _rejection(self) -> str | None:
        cause, dialect = self.reader.cause, self.command.dialect
        return None if cause is None or dialect is None else rejection(cause, dialect)


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
    site(engine, "http://127.0.0.1")  # a key that is not set is reported before anything starts
    command = launch_command(scenario, 0)
    env = step_environment(job, command.environment)
    if not in_container(job) and shutil.which(command.argv[0], path=env.get("PATH")) is None:
        raise EngineError(
            f"{scenario.name}: {command.argv[0]} is not installed (not found in PATH); install it, or "
            "set engine.command"
        )
    chooses = server_chooses(job, observer)
    port = 0 if chooses else free_port()
    command = in_step(launch_command(scenario, port, report=ADDRESS if chooses else None), job)
    if scenario.model.random_weights is not None:
        observer.phase("starting", "writing the model's configuration and tokenizer")
        write_model(scenario, model_folder(scenario, os.environ))
    if command.options:
        write_atomically(job.artifacts / OPTIONS_FILE, file_text(command.options), private=True)
    write_atomically(job.artifacts / SCRIPT, command.script(), private=True)
    observer.phase("starting", command.shell())
    log = job.artifacts / LOG
    with Child(command.argv, env=env, cwd=job.artifacts, log=log, grace_s=_GRACE_S) as child:
        url = f"http://127.0.0.1:{port}"
        steps = next_steps(engine)
        server = Server(scenario.name, url, child, log, steps, command)
        limit_s = engine.startup_timeout_s
        if chooses:
            limit_s = _await_address(server, job.artifacts / ADDRESS, limit_s, observer)
        await_ready(server, site(engine, server.url), limit_s, observer)
        yield server


def _await_address(server: Server, path: Path, limit_s: float, observer: Observer) -> float:
    """Wait until the server has written its address, which becomes its URL; return the seconds that are left.

    Raises:
        EngineError: the server died, or wrote no address in time.
    """
    began_s = time.monotonic()

    def ask() -> str | None:
        address = reported(path)
        if address is None:
            return f"no address in {path.name}"
        server.url = f"http://{address}"
        return None

    _wait(server, ask, limit_s, observer)
    return max(limit_s - (time.monotonic() - began_s), 1.0)


def await_ready(server: Server, where: Site, limit_s: float, observer: Observer) -> None:
    """Wait until the server reports that it is healthy, or without that page, lists its models.

    Meanwhile the observer gets the lines of its log.

    Raises:
        EngineError: the server died, or was not ready in time.
    """
    page = _HEALTH

    def ask() -> str | None:
        nonlocal page
        answer = "no answer"
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = where.get(page)
            if status == http.HTTPStatus.NOT_FOUND and page == _HEALTH:
                page = _MODELS
                status, _ = where.get(page)
            if status == http.HTTPStatus.OK:
                return None
            answer = f"HTTP {status}"
        return f"GET {where.url}{page}: {answer}"

    _wait(server, ask, limit_s, observer)
    server.read()
    server.reader.enter("running")


def _wait(server: Server, ask: Callable[[], str | None], limit_s: float, observer: Observer) -> None:
    """Wait until the server is as far as asked.

    Args:
        server: the server; the observer gets the lines of its log.
        ask: returns what is missing; None if nothing is.
        limit_s: the longest time, in seconds.
        observer: of the run.

    Raises:
        EngineError: the server died, or was not as far in time.
    """
    waiting = Waiting(server.reader, limit_s)
    while True:
        server.check()
        missing = ask()
        if missing is None:
            return
        for line in (lines := server.read(_LOOK_S)):
            waiting.heard(line)
        if lines:
            observer.phase("loading", lines[-1])
        if waiting.hopeless:
            raise EngineError(
                f"{server.name}: the server {server.symptom}; {waiting.given_up}{server.quoted()}"
            )
        if waiting.over:
            advice = "if it is only slow, raise engine.startup_timeout_s"
            raise EngineError(
                f"{server.name}: the server was not ready within {limit_s:g} s ({missing}); "
                f"{f'it {server.symptom}' if server.symptom else advice}{server.quoted()}"
            )
