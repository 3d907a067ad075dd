"""The engine `openai`: any server with OpenAI's API, either running already or started here.

One event loop in this process sends the requests (uvloop if it is installed). The client checks itself: a
measurement in which it was saturated is INVALID.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.in_effect import Option, saved, with_asked
from pytest_dsr1.engines.openai.client import loop
from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.questions import ask
from pytest_dsr1.engines.openai.requests import Requests
from pytest_dsr1.engines.openai.server.asked import asked_of
from pytest_dsr1.engines.openai.server.command import launch_command
from pytest_dsr1.engines.openai.server.in_effect import read_options
from pytest_dsr1.engines.openai.server.reuse import ServerLease, ServerPool
from pytest_dsr1.engines.openai.server.sampler import ServerMetrics
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import AskingInterruptedError, EngineResult, Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.masking import without_secrets
from pytest_dsr1.records import Observer, RequestRecord
from pytest_dsr1.text import shell_comment
from pytest_dsr1.workload.arrivals import schedule

if TYPE_CHECKING:
    from pytest_dsr1.engines.openai.client.driver import Tally
    from pytest_dsr1.engines.openai.client.exchange import Exchange
    from pytest_dsr1.engines.openai.client.self_check import ClientLoad
    from pytest_dsr1.engines.openai.server.process import Server

_DYING_S = 1.0
"""The longest time that a server without answers may take to end."""
_SETTLE_S = 0.02
"""The time in which answers without a request would arrive."""
_OPENED_FIRST = 512
"""Connections that an open loop opens at its start; more are opened when they are needed."""


class OpenAiEngine:
    """The engine that sends one job to a server.

    Args:
        pool: keeps a started server for the next job; without a pool the server ends with the job.
    """

    def __init__(self, pool: ServerPool | None = None) -> None:
        self._pool = pool

    def script(self, job: Job) -> str:
        """Return the command that starts the server, and the pytest command that measures it.

        Raises:
            UserError: the server does not have some of the scenario's options.
        """
        engine = OpenAi.of(job.scenario)
        line = f"pytest --dsr1-profile={job.scenario.name}\n"
        if engine.url is not None:
            return f"{shell_comment(f'against the server at {without_secrets(engine.url)}')}\n{line}"
        return f"{launch_command(job.scenario, 8000).comment()}\n{line}"

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            UserError: the server does not have some of the scenario's options.
            EngineError: the measurement failed; a server that was started or kept has ended.
            InvalidRunError: the client was saturated.
        """
        engine = OpenAi.of(job.scenario)
        if importlib.util.find_spec("httptools") is None:
            raise EngineError(
                f"{job.scenario.name}: the engine openai needs httptools, which is not installed: "
                "pip install 'pytest-dsr1[openai]'"
            )
        with ExitStack() as stack:
            lease: ServerLease | None = None
            if engine.url is None:
                pool = self._pool
                if pool is None:
                    pool = ServerPool()
                    stack.callback(pool.end)
                lease = stack.enter_context(pool.lease(job, observer))
            server = None if lease is None else lease.server
            url = engine.url if server is None else server.url
            assert url is not None
            where = site(engine, url)
            observer.phase("loading", f"asking {where} for its model")
            # transformers serve lists the models in its cache, but only accepts the name it was started with.
            pinned = (
                job.scenario.model.path if server is not None and engine.server == "transformers" else None
            )
            model = engine.served_model or pinned or where.served_model()
            requests = Requests(engine, model, where.authority, where.prefix, where.secret)
            stack.enter_context(loop.open_files(job.scenario.load.at_once))
            stack.enter_context(loop.no_collection())
            run = _Pass(job, observer, where, requests, server)
            result = run.result(loop.run(run.measure()))
            answers, interrupted = ask(job.questions, where, requests, server, observer)
            result = replace(result, answers=answers)
            if interrupted:
                raise AskingInterruptedError(result)
            if lease is None:
                return replace(result, facts=replace(result.facts, server_started=False))
            result = lease.with_server(result, requests.prompt_starts, job.scenario)
            # A server that leaves questions unanswered may still be busy with them, or about to die.
            lease.unanswered |= any(answer.error is not None for answer in result.answers)
            return result


class _Pass:
    """Warm-up and measurement with a server that is ready."""

    def __init__(
        self, job: Job, observer: Observer, where: Site, requests: Requests, server: Server | None
    ) -> None:
        self.job = job
        self.observer = observer
        self.where = where
        self.requests = requests
        self.server = server
        self.deadline_s = 0.0
        self.metrics = ServerMetrics(where, requests.engine.server, job.artifacts)

    async def measure(self) -> tuple[Tally, ClientLoad, dict[str, object]]:
        """Warm up, measure, and return the tally, the client's load, and facts about connections."""
        from pytest_dsr1.engines.openai.client.driver import LoadDriver, Plan
        from pytest_dsr1.engines.openai.client.pool import Address, ConnectionPool
        from pytest_dsr1.engines.openai.client.self_check import LoopWatch

        load, engine, workload = self.job.scenario.load, self.requests.engine, self.job.workload
        times = schedule(load)
        address = Address(self.where.host, self.where.port, self.where.tls)
        self.observer.phase("warm-up", f"{load.warmup_requests} requests")
        driver: LoadDriver

        def ended(exchange: Exchange) -> None:
            driver.ended(exchange)

        def recorded(record: RequestRecord) -> None:
            self.observer.record(record)
            enough, tally = self.job.enough, driver.tally
            if tally.stopped or tally.finished_early or enough is None or not enough(record):
                return
            if self.job.drains:
                driver.finish()
            else:
                driver.stop()

        # Warm-up and measurement share the client, so that the connections are open already.
        client = ConnectionPool(address, silence_s=engine.silence_timeout_s, ended=ended)
        try:
            self.deadline_s = time.monotonic() + self.job.run_timeout_s
            at_once = min(load.at_once, workload.requests)
            await client.open(at_once if times is None else min(at_once, _OPENED_FIRST))
            if load.warmup_requests:
                plan = Plan(load.warmup_requests, load.at_once)
                source = self.requests.exchanges(workload, load.warmup_requests, warm_up=True)
                driver = LoadDriver(plan, source, lambda _: None, lambda _n, _t: self._look())
                warm = await driver.run(client)
                failed = [r.error for r in warm.records if r.error is not None]
                if len(failed) > load.tolerated_failures:
                    raise self.failure(
                        f"{len(failed)} of {len(warm.records)} warm-up requests failed, "
                        f"the first: {failed[0]}"
                    )
                await client.open(at_once if times is None else min(at_once, _OPENED_FIRST))
            plan = Plan(workload.requests, load.at_once, load.ramp_s, times, load.duration_s)
            source = self.requests.exchanges(workload, workload.requests)
            driver = LoadDriver(plan, source, recorded, self._progress)
            self.observer.phase("measuring")
            self.deadline_s = time.monotonic() + self.job.run_timeout_s
            opened = client.opened
            driver.prepare()
            await asyncio.sleep(_SETTLE_S)
            with self.metrics:
                watch = LoopWatch()
                tally = await driver.run(client)
                client_load = watch.stop()
                if tally.stopped:
                    await client.close()  # the server then knows that these answers are not needed
            await asyncio.sleep(_SETTLE_S)
            if client.unexpected_answers:
                raise self.failure(
                    f"the server sent {client.unexpected_answers} responses that no request asked for, "
                    "so it is unknown which response belongs to which request"
                )
            facts: dict[str, object] = {"connections": opened, "connections_opened": client.opened - opened}
            return tally, client_load, facts
        finally:
            await client.close()

    def _progress(self, requests: int, output_tokens: int) -> None:
        self.observer.progress(requests, output_tokens)
        self._look()

    def _look(self) -> None:
        """Check the server and the time limit.

        Raises:
            EngineError: the server died, or the time is up.
        """
        if self.server is not None:
            self.server.check()
        if time.monotonic() > self.deadline_s:
            raise self.failure(
                f"not all requests were answered within {self.job.run_timeout_s:g} s; if the server was only "
                "slow, raise engine.run_timeout_s"
            )

    def failure(self, sentence: str) -> EngineError:
        """Return an error with this sentence and what the log of a server that we started shows."""
        shown = self.server.tail() if self.server else ""
        return EngineError(f"{self.job.scenario.name}: {sentence}{shown}")

    def result(self, measured: tuple[Tally, ClientLoad, dict[str, object]]) -> EngineResult:
        """Return the result of the measurement.

        Raises:
            EngineError: no request succeeded.
            InvalidRunError: the client was saturated.
        """
        tally, client_load, facts = measured
        records = tally.records
        hopeless = tally.hopeless is not None or tally.failed == len(records)
        if self.server is not None:
            self.server.check(_DYING_S if hopeless else 0.0)
        if hopeless:
            first = next((r.error for r in records if r.error), "no request was sent")
            raise self.failure(f"all {len(records)} requests so far failed, the first: {first}")
        self.observer.progress(len(records), tally.tokens)
        clumped = tally.clumps.judged(client_load)
        # A burst also keeps the client busy when first tokens come, but their times are INVALID without that.
        timed = () if clumped.why_not else records
        client_load.judge(self.job.scenario.name, timed, clumped.read_late)
        to_s = max(record.last_token_s for record in records)
        if clumped.why_not:  # without a time of the first token, tokens count from start to end
            records = [replace(record, first_token_s=None) for record in records]
        # The server also counts tokens of failed or aborted requests, which never reached us.
        server = self.metrics.summary(None if tally.failed or tally.stopped else tally.tokens)
        options = saved(self._options())
        return EngineResult(
            records=tuple(sorted(records, key=lambda record: record.last_token_s)),
            report={**(tally.gaps.metrics() if self.requests.engine.streaming else {}), **server.report},
            measured_from_s=min(record.start_s for record in records),
            measured_to_s=to_s,
            gpus=self.job.scenario.hardware.count,
            versions={**_versions(), **_server_version(self.requests.engine.server, options)},
            facts=EngineFacts(
                server_metrics=server.server_metrics,
                not_measured={**server.not_measured, **clumped.not_measured(self.job.scenario.slo)},
                options_in_effect=options,
                other={
                    "url": self.where.url,
                    "model": self.requests.model,
                    "client": {
                        **client_load.facts(records),
                        **facts,
                        **_resent(records),
                        **_lateness(records),
                        **clumped.facts(),
                    },
                },
            ),
            warnings=(*self._warnings(tally, client_load), *clumped.warnings(), *server.warnings),
            series=tally.series.series(to_s),
            stopped=tally.stopped or tally.finished_early,
        )

    def _options(self) -> Iterator[Option]:
        """Yield the server's options in effect, next to those that its command asks for."""
        engine, server = self.requests.engine, self.server
        read = read_options(engine.server, self.where, None if server is None else server.log)
        return with_asked(read, {} if server is None else asked_of(server.command, engine))

    def _warnings(self, tally: Tally, client_load: ClientLoad) -> Iterator[str]:
        if tally.failed:
            first = next(r.error for r in tally.records if r.error)
            yield f"{tally.failed} of {len(tally.records)} requests failed, the first: {first}"
        if tally.waited:
            yield (
                f"{tally.waited} requests had to wait because {self.job.scenario.load.concurrency} were "
                "already in flight when they were due; their latency includes that wait: raise "
                "load.concurrency, or accept that the server does not keep up with this rate"
            )
        if tally.unsent:
            yield (
                f"{tally.unsent} requests still waited after load.duration_s and were never sent; the "
                "measurement's figures omit them"
            )
        for resent in _resent(tally.records).values():
            yield (
                f"{resent} requests were sent again, because the server closed the idle connection just as "
                "they were sent; their latency starts at the first attempt (`resent` in requests.jsonl)"
            )
        if unjudged := client_load.unjudged():
            yield unjudged
        if self.server is not None:
            yield from self.server.command.warnings
            if unsearched := self.server.child.unsearched:
                yield unsearched
        if importlib.util.find_spec("uvloop") is None:
            yield "uvloop is not installed, which makes the client slower (pip install uvloop)"


def _resent(records: list[RequestRecord]) -> dict[str, object]:
    """Return the number of requests that were sent a second time, if there are any."""
    resent = sum(record.resent for record in records)
    return {"resent": resent} if resent else {}


def _lateness(records: list[RequestRecord]) -> dict[str, object]:
    """Return how much later than scheduled the requests of an open loop were sent, in ms."""
    late = sorted(r.submitted_s - r.scheduled_s for r in records if r.scheduled_s is not None)
    if not late:
        return {}
    return {
        f"late_{name}_ms": round(late[min(int(len(late) * share), len(late) - 1)] * 1e3, 3)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def _server_version(server: str, options: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return the version of the server's software, by its package, if the server says it."""
    package = {"trtllm-serve": "tensorrt_llm"}.get(server, server)
    return {package: str(options["version"]["in_effect"])} if "version" in options else {}


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("httptools", "uvloop"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
