"""The port of a server that we start: its own choice if it can report it, else one that is free now.

Between our look and the server's start another program can take a free port. trtllm-serve since #17460
(August 2026) takes `--port 0 --report_addr FILE`: it binds a port of the kernel's choice and writes
`HOST:PORT` to the file. It does so with one HTTP process only, and newer versions start several unless told
otherwise. Then its choice would change what is measured, so it is not used (TensorRT-LLM's tests of
`--report_addr` and of `--num_serve_frontends`).
"""

from __future__ import annotations

import socket
import time
from itertools import pairwise
from pathlib import Path

from pytest_dsr1.engines.openai.server.command import trtllm_version
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import asking_words, step_environment
from pytest_dsr1.engines.trtllm_options.dialects import version_of
from pytest_dsr1.engines.trtllm_options.installed import offered_options
from pytest_dsr1.errors import UserError
from pytest_dsr1.process.child import Child
from pytest_dsr1.records import Observer

ADDRESS = "server.addr"
"""The file with the address, in the job's folder."""
HELP = "help.txt"
_HELP_LIMIT_S = 300.0
"""The longest time for the help: trtllm-serve imports TensorRT-LLM first, which can take a minute."""
_FRONTENDS = "--num_serve_frontends"


def free_port() -> int:
    """Return a port that no process listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def server_chooses(job: Job, observer: Observer) -> bool:
    """Return whether the server can choose its port and report it, without a change of what is measured."""
    engine = OpenAi.of(job.scenario)
    return can_choose(engine, offered(job, observer))


def can_choose(engine: OpenAi, offered: frozenset[str]) -> bool:
    """Return whether a server of these settings can, if trtllm-serve has the ``offered`` options."""
    one = engine.llm_api.num_serve_frontends == 1 or _is_one(engine.arguments)
    return "--report_addr" in offered and (one or _FRONTENDS not in offered)


def offered(job: Job, observer: Observer) -> frozenset[str]:
    """Return the options that trtllm-serve has; none if the server's port is the scenario's.

    It is asked for them, unless its version cannot have the one that reports an address.
    """
    engine = OpenAi.of(job.scenario)
    given = [word.partition("=")[0] for word in engine.arguments]
    if (
        engine.server != "trtllm-serve"
        or engine.command is not None
        or {"--port", "--report_addr"} & {*given}
    ):
        return frozenset()
    version = trtllm_version(engine)
    try:
        if version is not None and version_of(version) < (1, 3):
            return frozenset()
    except UserError:  # a build of one's own: its help says what it has
        pass
    observer.phase("starting", "asking trtllm-serve for its options")
    return _asked(job, engine)


def _is_one(arguments: list[str]) -> bool:
    return f"{_FRONTENDS}=1" in arguments or (_FRONTENDS, "1") in pairwise(arguments)


def _asked(job: Job, engine: OpenAi) -> frozenset[str]:
    """Return the options in trtllm-serve's help; none if it does not print one in time."""
    lines: list[str] = []
    until_s = time.monotonic() + min(_HELP_LIMIT_S, engine.startup_timeout_s)
    argv = [*asking_words(job), "trtllm-serve", "serve", "--help"]
    env = step_environment(job, engine.environment)
    with Child(argv, env=env, cwd=job.artifacts, log=job.artifacts / HELP) as child:
        while time.monotonic() < until_s:
            more = child.read(0.25)
            lines += [line.text for line in more]
            if not more and child.returncode is not None:
                break
    return offered_options("\n".join(lines))


def reported(path: Path) -> str | None:
    """Return the address that the server wrote, as ``HOST:PORT``; None while there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    return text.strip() if text.endswith("\n") else None
