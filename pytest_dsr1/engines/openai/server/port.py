"""The port of a server that we start: its own choice if it can report it, else one that is free now.

Between our look and the server's start another program can take a free port. trtllm-serve since #17460
(August 2026) takes `--port 0 --report_addr FILE`: it binds a port of the kernel's choice and writes
`HOST:PORT` to the file. It does so with one HTTP process only, and newer versions start several unless told
otherwise. Then its choice would change what is measured, so it is not used (TensorRT-LLM's tests of
`--report_addr` and of `--num_serve_frontends`).
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pytest_dsr1.engines.openai.server.command import Program, program_here
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import asking_words, in_container, step_environment
from pytest_dsr1.engines.trtllm_options.dialects import version_of
from pytest_dsr1.engines.trtllm_options.in_log import version_in_log
from pytest_dsr1.engines.trtllm_options.installed import offered_options
from pytest_dsr1.errors import UserError
from pytest_dsr1.process.child import Child
from pytest_dsr1.records import Observer

ADDRESS = "server.addr"
"""The file with the address, in the job's folder."""
HELP = "help.txt"
_HELP_LIMIT_S = 300.0
"""The longest time for the help: trtllm-serve imports TensorRT-LLM first, which can take a minute."""
_REPORT = "--report_addr"
_FRONTENDS = "--num_serve_frontends"


def can_choose(engine: OpenAi, program: Program) -> bool:
    """Return whether the server can choose its port and report it, without a change of what is measured."""
    one = engine.llm_api.num_serve_frontends == 1 or _is_one(engine.arguments)
    return _may_choose(engine) and _REPORT in program.options and (one or _FRONTENDS not in program.options)


def _may_choose(engine: OpenAi) -> bool:
    """Return whether the scenario leaves the port to us."""
    given = {word.partition("=")[0] for word in engine.arguments}
    return engine.server == "trtllm-serve" and engine.command is None and not given & {"--port", _REPORT}


def program_of(job: Job, observer: Observer) -> Program:
    """Return the trtllm-serve that the job starts; one of an unknown version for other servers.

    It is asked for its options if its version can have the one that reports an address. In a container it is
    also asked for its version.
    """
    engine = OpenAi.of(job.scenario)
    if in_container(job):
        if engine.server != "trtllm-serve" or engine.command is not None:
            return Program(None)
        text = _help(job, engine, observer)
        return Program(version_in_log(text), offered_options(text))
    here = program_here(engine)
    if not _may_choose(engine) or (here.version is not None and _before_reports(here.version)):
        return here
    return Program(here.version, offered_options(_help(job, engine, observer)))


def _before_reports(version: str) -> bool:
    with suppress(UserError):  # a build of one's own: its help says what it has
        return version_of(version) < (1, 3)
    return False


def _is_one(arguments: list[str]) -> bool:
    return f"{_FRONTENDS}=1" in arguments or (_FRONTENDS, "1") in pairwise(arguments)


def _help(job: Job, engine: OpenAi, observer: Observer) -> str:
    """Return what trtllm-serve says about itself; it imports TensorRT-LLM first, which says its version."""
    observer.phase("starting", "asking trtllm-serve for its options")
    lines: list[str] = []
    until_s = time.monotonic() + min(_HELP_LIMIT_S, engine.startup_timeout_s)
    argv = [*asking_words(job, engine.environment), "trtllm-serve", "serve", "--help"]
    env = step_environment(job, engine.environment)
    with Child(argv, env=env, cwd=job.artifacts, log=job.artifacts / HELP) as child:
        while time.monotonic() < until_s:
            more = child.read(0.25)
            lines += [line.text for line in more]
            if not more and child.returncode is not None:
                break
    return "\n".join(lines)


def reported(path: Path) -> str | None:
    """Return the address that the server wrote, as ``HOST:PORT``; None while there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    return text.strip() if text.endswith("\n") else None
