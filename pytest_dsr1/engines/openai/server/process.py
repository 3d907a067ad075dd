"""A server that the engine starts: its command, its start, and its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.server.random_model import DUMMY_WEIGHTS, model_folder, write_model
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.errors import EngineError, UserError
from pytest_dsr1.machine.host import installed_version
from pytest_dsr1.machine.named_files import absolute_words
from pytest_dsr1.masking import exported, hides, masked_words, without_secrets
from pytest_dsr1.process.child import Child, environment, signal_name
from pytest_dsr1.process.log import memory, why
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.waiting import Waiting
from pytest_dsr1.records import Observer
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import expanding_word

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

_COMMANDS = {
    "trtllm-serve": ["trtllm-serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"],
    "vllm": ["vllm", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"],
    "sglang": [
        *(sys.executable, "-m", "sglang.launch_server"),
        *("--model-path", "{model}", "--host", "127.0.0.1", "--port", "{port}"),
    ],
    "transformers": ["transformers", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"],
}
# Each server's names of the scenario's options; an option without a name is an error. transformers has none.
# Verified: trtllm-serve in TensorRT-LLM's commands/serve.py (1.2, commit 00209af1) and the commands of
# docs/source/commands/trtllm-serve.rst (autumn 2026, commit 0434755f); vllm 0.33.0, engine/arg_utils.py;
# SGLang 0.5.23, srt/arg_groups/fields/ (an option is its field's name with dashes).
_OPTIONS: dict[str, dict[str, str]] = {
    "trtllm-serve": {
        "tp": "--tp_size",
        "pp": "--pp_size",
        "ep": "--ep_size",
        "max_batch_size": "--max_batch_size",
        "max_num_tokens": "--max_num_tokens",
        "max_seq_len": "--max_seq_len",
        "gpu_memory_fraction": "--kv_cache_free_gpu_memory_fraction",
    },
    "vllm": {
        "tp": "--tensor-parallel-size",
        "pp": "--pipeline-parallel-size",
        "max_batch_size": "--max-num-seqs",
        "max_num_tokens": "--max-num-batched-tokens",
        "max_seq_len": "--max-model-len",
        "gpu_memory_fraction": "--gpu-memory-utilization",
    },
    "sglang": {
        "tp": "--tp-size",
        "pp": "--pp-size",
        "ep": "--ep-size",
        "max_batch_size": "--max-running-requests",
        "max_num_tokens": "--chunked-prefill-size",
        "max_seq_len": "--context-length",
        "gpu_memory_fraction": "--mem-fraction-static",
    },
    "transformers": {},
    "other": {},
}
_OPTION_KEYS = tuple(_OPTIONS["trtllm-serve"])


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """The command and the environment that start a server."""

    argv: list[str]
    environment: dict[str, str]

    def shell(self) -> str:
        """Return the command as a shell line; secrets are variables, to be exported first."""
        values = (
            f'{name}="${{{name}:?export it first}}"'
            if hides(name, value)
            else f"{name}={expanding_word(without_secrets(value, exported))}"
            for name, value in self.environment.items()
        )
        return " ".join([*values, *map(expanding_word, masked_words(self.argv))])


def launch_command(scenario: Scenario, port: int) -> LaunchCommand:
    """Return the command that serves the scenario's model at ``port``.

    Raises:
        UserError: the server does not have one of the options.
    """
    engine = OpenAi.of(scenario)
    names = _OPTIONS[engine.server]
    options: list[str] = []
    for key in _OPTION_KEYS:
        value = getattr(engine, key)
        if value is None:
            continue
        if key == "ep" and engine.server == "vllm":
            options += _vllm_experts(scenario.name, value, engine.tp or 1)
            continue
        if key not in names:
            raise UserError(
                f"{scenario.name}: engine.{key}: {engine.server} does not have this option; remove it, or "
                "set it in engine.arguments"
            )
        options += [names[key], str(value)]
    options += _backend(engine)
    model = str(scenario.model.path or scenario.model.name)
    if scenario.model.random_weights is not None:
        model = str(model_folder(scenario, os.environ))
        options += DUMMY_WEIGHTS[engine.server]
    values = {"{port}": str(port), "{model}": model}
    argv = []
    for argument in engine.command or _COMMANDS[engine.server]:
        for name, value in values.items():
            argument = argument.replace(name, value)  # noqa: PLW2901
        argv.append(argument)
    words = [*argv, *options, *engine.arguments]
    return LaunchCommand(absolute_words(words, Path.cwd()), dict(engine.environment))


def _backend(engine: OpenAi) -> list[str]:
    """Return the option with which old versions of trtllm-serve run PyTorch instead of a TensorRT engine.

    1.0.0rc4 needs it (#7752). In 1.2 it is the default and the option is accepted; newer ones were not read.
    """
    given = any(word.partition("=")[0] == "--backend" for word in engine.arguments)
    if engine.server != "trtllm-serve" or engine.command is not None or given:
        return []
    found = re.match(r"(\d+)\.(\d+)", installed_version("tensorrt-llm") or "")
    return ["--backend", "pytorch"] if found and (int(found[1]), int(found[2])) < (1, 2) else []


def _vllm_experts(name: str, ep: int, tp: int) -> list[str]:
    """Return the flag, which has no value: vLLM spreads the experts over all ranks or over none."""
    if ep not in {1, tp}:
        raise UserError(
            f"{name}: engine.ep: vllm spreads the experts over all engine.tp ranks or none: expected {tp} "
            f"or 1, found {ep}; with data parallelism add --enable-expert-parallel to engine.arguments"
        )
    return ["--enable-expert-parallel"] if ep > 1 else []


@dataclass
class Server:
    """A running server.

    Attributes:
        url: its address.
        steps: the next steps that only its kind of server knows, by the name of the family of causes.
        reader: remembers the cause of a failure.
    """

    name: str
    url: str
    child: Child
    log: Path
    steps: why.NextSteps
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
            reason = why.explained(self.reader, code, self.steps, self.child.argv[0])
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
        return why.symptom(self.reader, self.steps)


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


def free_port() -> int:
    """Return a port that no process listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def launched(job: Job, observer: Observer) -> Iterator[Server]:
    """Start the scenario's server, yield it when it is ready, and end it with all processes it started.

    Raises:
        EngineError: the server cannot be started, died, or was not ready in time.
    """
    scenario, engine = job.scenario, OpenAi.of(job.scenario)
    port = free_port()
    where = site(engine, f"http://127.0.0.1:{port}")
    command = launch_command(scenario, port)
    env = environment(command.environment)
    if shutil.which(command.argv[0], path=env.get("PATH")) is None:
        raise EngineError(
            f"{scenario.name}: {command.argv[0]} is not installed (not found in PATH); install it, or "
            "set engine.command"
        )
    if scenario.model.random_weights is not None:
        observer.phase("starting", "writing the model's configuration and tokenizer")
        write_model(scenario, model_folder(scenario, os.environ))
    write_atomically(job.artifacts / SCRIPT, f"{command.shell()}\n", private=True)
    observer.phase("starting", command.shell())
    log = job.artifacts / LOG
    with Child(command.argv, env=env, cwd=job.artifacts, log=log, grace_s=_GRACE_S) as child:
        server = Server(scenario.name, where.url, child, log, next_steps(engine))
        await_ready(server, where, engine.startup_timeout_s, observer)
        yield server


def await_ready(server: Server, where: Site, limit_s: float, observer: Observer) -> None:
    """Wait until the server reports that it is healthy, or without that page, lists its models.

    Meanwhile the observer gets the lines of its log.

    Raises:
        EngineError: the server died, or was not ready in time.
    """
    waiting = Waiting(server.reader, limit_s)
    answer, asked = "no answer", _HEALTH
    while True:
        server.check()
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = where.get(asked)
            if status == http.HTTPStatus.NOT_FOUND and asked == _HEALTH:
                asked = _MODELS
                status, _ = where.get(asked)
            if status == http.HTTPStatus.OK:
                server.read()
                server.reader.enter("running")
                return
            answer = f"HTTP {status}"
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
                f"{server.name}: the server was not ready within {limit_s:g} s (GET {where.url}{asked}: "
                f"{answer}); {f'it {server.symptom}' if server.symptom else advice}{server.quoted()}"
            )
