"""Reuse of one server for several scenarios that would start it in the same way."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_dsr1.engines.openai.disaggregated import READS
from pytest_dsr1.engines.openai.server.command import launch_command
from pytest_dsr1.engines.openai.server.process import SCRIPT, Server, await_ready, launched
from pytest_dsr1.engines.openai.server.roles import commands, launched_roles
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.errors import EngineError, UserError, on_failure
from pytest_dsr1.machine.named_files import file_facts
from pytest_dsr1.records import Observer
from pytest_dsr1.scenario.schema.scenario import Scenario

_ANSWERS_WITHIN_S = 30.0
"""The longest wait for a kept server; an idle server answers at once, so a slower one hangs."""
_NOT_THE_SERVERS = "PYTEST_CURRENT_TEST"
"""A variable that pytest changes for each test, and that does not matter to the server."""
_NO_PREFIX_CACHE = {"vllm": "--no-enable-prefix-caching", "sglang": "--disable-radix-cache"}
_OFF = {
    **{server: f"{option} in engine.arguments" for server, option in _NO_PREFIX_CACHE.items()},
    "trtllm-serve": "engine.llm_api.kv_cache_config.enable_block_reuse: false",
}


@dataclass
class ServerLease:
    """A server for one measurement.

    Attributes:
        server: the server, with the name of the scenario that is measured.
        kept_from: the other scenario that the server was started for; None for a new server.
        prompt_starts: hashes of the starts of all prompts that the server has read.
        warnings: sentences for the result.
        unanswered: whether requests failed or were given up, so the server may still be busy with them.
        drains: whether a measurement that is stopped waits for its requests in flight.
    """

    server: Server
    kept_from: str | None
    prompt_starts: set[int]
    warnings: list[str] = field(default_factory=list)
    unanswered: bool = False
    drains: bool = False

    def with_server(self, result: EngineResult, prompt_starts: set[int], scenario: Scenario) -> EngineResult:
        """Return the result with facts about the server; ``prompt_starts`` are of the measured prompts."""
        facts = replace(
            result.facts,
            server_started=self.kept_from is None,
            server_kept_from=self.kept_from,
            other={**result.facts.other, "server_log": str(self.server.log)},
        )
        if self.kept_from is not None:
            self.warnings += _shared(
                scenario, self.kept_from, len(prompt_starts & self.prompt_starts), len(prompt_starts)
            )
        self.prompt_starts |= prompt_starts
        given_up = result.stopped and not self.drains
        self.unanswered = given_up or any(record.error is not None for record in result.records)
        return replace(result, facts=facts, warnings=(*result.warnings, *self.warnings))


def _shared(scenario: Scenario, kept_from: str, shared: int, of: int) -> Iterator[str]:
    engine = OpenAi.of(scenario)
    cache = engine.roles.get(READS, engine).llm_api.kv_cache_config
    if cache is not None and cache.enable_block_reuse is False:
        return
    if not shared or _NO_PREFIX_CACHE.get(engine.server) in launch_command(scenario, 0).argv:
        return
    off = _OFF.get(engine.server, "the server's own option in engine.arguments")
    yield (
        f"this server was left running from scenario {kept_from} and had already read the start of {shared} "
        f"of these {of} prompts: with a prefix cache it answers them faster than new prompts; give each "
        f"scenario its own dataset.seed or its own prompts, or switch the cache off with {off}"
    )


class ServerPool:
    """A pool of at most one server, with the settings that it was started with."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._started_with: object = None
        self._prompt_starts: set[int] = set()
        self._stack = ExitStack()

    def __bool__(self) -> bool:
        """Return whether there is a server, alive or not."""
        return self._server is not None

    def fits(self, scenario: Scenario) -> bool:
        """Return whether there is a server that the scenario would start in the same way."""
        return bool(self) and _started_with(scenario) == self._started_with is not None

    def end(self) -> None:
        """End the server with all processes it started, if there is one.

        Raises:
            EngineError: processes survive even SIGKILL.
        """
        self._server = None
        self._stack.close()

    @contextmanager
    def lease(self, job: Job, observer: Observer) -> Iterator[ServerLease]:
        """Yield the kept server if it fits and still answers, else a new one.

        The server is kept if all requests succeed and none was given up. A reused server's log stays in its
        first folder; the lines of this measurement are copied.

        Raises:
            EngineError: a new server cannot be started, died, or was not ready in time.
        """
        warnings: list[str] = []
        with on_failure(self.end), ExitStack() as at_the_end:
            kept = self._server if self.fits(job.scenario) else None
            if kept is not None:
                reason = _why_unusable(kept, job.scenario, observer)
                if reason is None:
                    logged = [each.child.logged for each in kept.every]
                    at_the_end.callback(_copy_logs, kept, job, logged)
                else:
                    kept = None
                    warnings.append(f"a new server was started because the old one cannot be used: {reason}")
            server = kept or self._start(job, observer)
            first = None if kept is None else kept.name
            named = server.for_scenario(job.scenario.name)
            lease = ServerLease(named, first, self._prompt_starts, warnings, drains=job.drains)
            yield lease
            if lease.unanswered:
                self.end()

    def _start(self, job: Job, observer: Observer) -> Server:
        self.end()
        self._prompt_starts = set()
        self._started_with = _started_with(job.scenario)
        start = launched if OpenAi.of(job.scenario).disaggregated is None else launched_roles
        self._server = self._stack.enter_context(start(job, observer))
        return self._server


def _started_with(scenario: Scenario) -> object:
    """Return everything that scenarios must have in common to share a server; None without an own server."""
    engine = scenario.engine
    if not isinstance(engine, OpenAi) or engine.url is not None:
        return None
    with suppress(EngineError, UserError):  # reported when the server is started
        environ = {name: value for name, value in os.environ.items() if name != _NOT_THE_SERVERS}
        files = file_facts(engine.command_words, Path.cwd())  # a server reads them only when it starts
        started = launch_command(scenario, 0) if engine.disaggregated is None else commands(scenario)
        return started, engine.disaggregated, environ, files, scenario.hardware, scenario.gpu_setup
    return None


def _why_unusable(server: Server, scenario: Scenario, observer: Observer) -> str | None:
    """Return why a kept server cannot answer; None if it can."""
    observer.phase("loading", f"reusing the server of {server.name}, {server.url}")
    try:
        itself = replace(server, engine=OpenAi.of(scenario))
        await_ready([*server.behind, itself], _ANSWERS_WITHIN_S, observer)
    except EngineError as error:
        reason = re.split("[;\n]", str(error))[0]
        return f"{reason}; its log: {server.log}"
    return None


def _copy_logs(server: Server, job: Job, from_bytes: Sequence[int]) -> None:
    """Copy the server's command and its log lines of this measurement to the result's folder."""
    with suppress(OSError):  # the facts contain the path of the whole log
        shutil.copy(server.log.with_name(SCRIPT), job.artifacts / SCRIPT)  # with its mode
        for each, from_byte in zip(server.every, from_bytes, strict=True):
            each.child.copy_log(from_byte, job.artifacts / each.log.name)
