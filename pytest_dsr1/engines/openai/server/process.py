"""A server of our own: started, awaited, and ended with all it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.server.random_model import DUMMY_WEIGHTS, model_folder, write_model
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.process.child import Child, environment, quoted
from pytest_dsr1.records import Observer
from pytest_dsr1.scenario.schema.scenario import Scenario

LOG = "server.log"
SCRIPT = "server.sh"
_TAIL = 8
_LOOK_S = 0.25
_GRACE_S = 20.0
_HEALTH = "/health"
"""200 when ready with all of them: vLLM and trtllm-serve listen when the model is loaded (vLLM 0.33.0
entrypoints/serve/instrumentator/health.py, TensorRT-LLM serve/openai_server.py); SGLang answers 503 until it
has warmed up and then generates a token for the answer, as /health_generate does, which takes it a second
(0.5.23, srt/entrypoints/http_server.py); transformers serve 5.23.0 has it too."""
_MODELS = "/v1/models"
"""What a server without it is asked: all list their models, mostly as soon as they are loaded."""

_COMMANDS = {
    "trtllm-serve": ["trtllm-serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"],
    "vllm": ["vllm", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"],
    "sglang": [
        *(sys.executable, "-m", "sglang.launch_server"),
        *("--model-path", "{model}", "--host", "127.0.0.1", "--port", "{port}"),
    ],
    "transformers": ["transformers", "serve", "{model}", "--host", "127.0.0.1", "--port", "{port}"],
}
# Each server's name of an option of the scenario; what it lacks is an error. transformers serve has none.
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
    """How a server is started."""

    argv: list[str]
    environment: dict[str, str]

    def shell(self) -> str:
        """As a person would type it."""
        return " ".join(
            [*(f"{k}={shlex.quote(v)}" for k, v in self.environment.items()), shlex.join(self.argv)]
        )


def launch_command(scenario: Scenario, port: int) -> LaunchCommand:
    """The command that serves the scenario's model at ``port``.

    Raises:
        EngineError: an option that this server does not have.
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
            raise EngineError(
                f"{scenario.name}: engine.{key}: {engine.server} has no such option; remove it, or say the "
                "same in engine.arguments"
            )
        options += [names[key], str(value)]
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
    return LaunchCommand([*argv, *options, *engine.arguments], dict(engine.environment))


def _vllm_experts(name: str, ep: int, tp: int) -> list[str]:
    """The flag, which takes no value: vLLM spreads the experts over all ranks or over none."""
    if ep not in {1, tp}:
        raise EngineError(
            f"{name}: engine.ep: vllm spreads the experts over all of engine.tp or over none: expected {tp} "
            f"or 1, found {ep}; with data parallelism say --enable-expert-parallel in engine.arguments"
        )
    return ["--enable-expert-parallel"] if ep > 1 else []


@dataclass
class Server:
    """A server that runs.

    Attributes:
        url: its address.
    """

    name: str
    url: str
    child: Child
    log: Path
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))

    def read(self, timeout_s: float = 0.0) -> None:
        """Take what it logged since the last time."""
        self.lines.extend(line.text for line in self.child.read(timeout_s))

    def check(self, grace_s: float = 0.0) -> None:
        """Whether it still lives.

        Args:
            grace_s: how long its end is waited for; connections of a dying process are closed before it ends.

        Raises:
            EngineError: it does not.
        """
        limit_s = time.monotonic() + grace_s
        while self.child.returncode is None and time.monotonic() < limit_s:
            time.sleep(0.02)
        self.read()
        code = self.child.returncode
        if code is not None:
            self.read()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
            raise EngineError(f"{self.name}: the server {how}: {self.child.argv[0]}{self.tail()}")

    def tail(self) -> str:
        """The last lines of its log, as a message shows them."""
        self.read()
        lines = quoted(self.lines)
        return f"\nThe last lines of {self.log}:{lines}" if lines else f"\nNothing was logged in {self.log}."


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def launched(job: Job, observer: Observer) -> Iterator[Server]:
    """The scenario's server, ready to be asked; ended, with all it started, at the end.

    Raises:
        EngineError: it cannot be started, died, or was not ready in time.
    """
    scenario, engine = job.scenario, OpenAi.of(job.scenario)
    port = free_port()
    where = site(engine, f"http://127.0.0.1:{port}")
    command = launch_command(scenario, port)
    env = environment(command.environment)
    if shutil.which(command.argv[0], path=env.get("PATH")) is None:
        raise EngineError(
            f"{scenario.name}: {command.argv[0]} is not installed here (not found in PATH); install it, or "
            "give the command in engine.command"
        )
    if scenario.model.random_weights is not None:
        observer.phase("starting", "writing the model's configuration and tokenizer")
        write_model(scenario, model_folder(scenario, os.environ))
    (job.artefacts / SCRIPT).write_text(f"{command.shell()}\n", encoding="utf-8")
    observer.phase("starting", command.shell())
    log = job.artefacts / LOG
    with Child(command.argv, env=env, cwd=job.artefacts, log=log, grace_s=_GRACE_S) as child:
        server = Server(scenario.name, where.url, child, log)
        await_ready(server, where, engine.startup_timeout_s, observer)
        yield server


def await_ready(server: Server, where: Site, limit_s: float, observer: Observer) -> None:
    """Wait until it says that it is healthy, or, without that page, lists its models; show its log meanwhile.

    Raises:
        EngineError: it died, or was not ready in time.
    """
    until_s = time.monotonic() + limit_s
    shown, said, asked = "", "no answer", _HEALTH
    while True:
        server.check()
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _ = where.get(asked)
            if status == http.HTTPStatus.NOT_FOUND and asked == _HEALTH:
                asked = _MODELS
                status, _ = where.get(asked)
            if status == http.HTTPStatus.OK:
                return
            said = f"HTTP {status}"
        server.read(_LOOK_S)
        if server.lines and server.lines[-1] != shown:
            shown = server.lines[-1]
            observer.phase("loading", shown)
        if time.monotonic() > until_s:
            raise EngineError(
                f"{server.name}: the server was not ready in {limit_s:g} s (GET {where.url}{asked}: {said}); "
                f"if it is only slow, raise engine.startup_timeout_s{server.tail()}"
            )
