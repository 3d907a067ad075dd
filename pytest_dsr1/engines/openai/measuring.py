"""Warm-up and measurement with servers that are ready, and the result."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.in_effect import Option, saved, with_asked
from pytest_dsr1.engines.openai.client import loop, ports
from pytest_dsr1.engines.openai.client.driver import Tally
from pytest_dsr1.engines.openai.disaggregated import READS
from pytest_dsr1.engines.openai.endpoint import Site
from pytest_dsr1.engines.openai.sending.crew import Crew, processes_for, shares
from pytest_dsr1.engines.openai.sending.figures import idle_early, per_server, together
from pytest_dsr1.engines.openai.sending.part import Part, PartResult, Share, Task, WarmUp, connections
from pytest_dsr1.engines.openai.server.asked import asked_of
from pytest_dsr1.engines.openai.server.in_effect import read_options
from pytest_dsr1.engines.openai.server.role_metrics import RoleMetrics
from pytest_dsr1.engines.openai.server.sampler import SeveralMetrics
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.records import Observer, RequestRecord

if TYPE_CHECKING:
    from pytest_dsr1.engines.openai.server.process import Server

_DYING_S = 1.0
"""The longest time that a server without answers may take to end."""


class Measuring:
    """Warm-up and measurement with servers that are ready."""

    def __init__(
        self, job: Job, observer: Observer, sites: Sequence[Site], task: Task, server: Server | None
    ) -> None:
        self.job = job
        self.observer = observer
        self.sites = sites
        self.task = task
        self.server = server
        self.deadline_s = 0.0
        self.metrics = _metrics(sites, server, task.engine.server, job.artifacts)
        self._end: Callable[[], None] | None = None

    def measure(self) -> list[PartResult]:
        """Warm up and measure; return the result of each process of the load generator."""
        load, plan = self.job.scenario.load, self.task.plan
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        processes = processes_for(load, plan.schedule, self.job.workload.mean_output, cpus, len(self.sites))
        divided = shares(processes, len(self.sites))
        needed = [0] * len(self.sites)
        for share in (share for some in divided for share in some):
            needed[share.server] += connections(plan, [share])
        ports.check_all([(at.host, at.port, count) for at, count in zip(self.sites, needed, strict=True)])
        self._limit()
        self.observer.phase("warm-up", f"{load.warmup_requests} requests")
        if processes == 1:
            with loop.open_files(load.at_once), loop.no_collection():
                return [loop.run(self._here(divided[0]))]
        loop.check_files(max(connections(plan, mine) for mine in divided))
        with Crew(self.task, divided, self.job.artifacts, self._look) as crew:
            self._check(crew.warm_up())
            crew.prepare()
            self._begin(partial(crew.end, drain=self.job.drains))
            with self.metrics:
                return crew.measure(self._record, self._progress)

    async def _here(self, mine: Sequence[Share]) -> PartResult:
        part = Part(self.task, mine, self._record, self._progress, self._look)
        try:
            self._check(await part.warm_up())
            await part.prepare()
            self._begin(partial(part.end, drain=self.job.drains))
            with self.metrics:
                return await part.measure()
        finally:
            await part.close()

    def _check(self, warm_up: WarmUp) -> None:
        if warm_up.failed > self.job.scenario.load.tolerated_failures:
            if self.server is not None:  # its end is the cause
                self.server.check(_DYING_S)
            raise self.failure(
                f"{warm_up.failed} of {warm_up.sent} warm-up requests failed, the first: {warm_up.error}"
            )

    def _begin(self, end: Callable[[], None]) -> None:
        self._end = end
        self.observer.phase("measuring")
        self._limit()

    def _limit(self) -> None:
        self.deadline_s = time.monotonic() + self.job.run_timeout_s

    def _record(self, record: RequestRecord) -> None:
        self.observer.record(record)
        if self._end is not None and self.job.enough is not None and self.job.enough(record):
            end, self._end = self._end, None
            end()

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

    def result(self, parts: Sequence[PartResult]) -> EngineResult:
        """Return the result of the measurement.

        Raises:
            EngineError: no request succeeded, or none at one of several servers.
            InvalidRunError: the client was saturated.
        """
        if unexpected := sum(part.unexpected for part in parts):
            raise self.failure(
                f"the server sent {unexpected} responses that no request asked for, so it is unknown which "
                "response belongs to which request"
            )
        name = self.job.scenario.name
        mine = [part.tally.records for part in parts]
        tally = Tally()
        for part in parts:
            tally.add(part.tally)
        records = tally.records
        self._check_answers(tally)
        self.observer.progress(len(records), tally.tokens)
        clumped = tally.clumps.judged()
        for number, (part, its) in enumerate(zip(parts, mine, strict=True), 1):
            who = name if len(parts) == 1 else f"{name}: process {number} of {len(parts)}"
            # A burst also keeps the client busy when first tokens come, but their times are INVALID without.
            part.load.judge(who, () if clumped.why_not else its, clumped.read_late)
        client = together([part.load.facts(its) for part, its in zip(parts, mine, strict=True)])
        to_s = max(record.last_token_s for record in records)
        if clumped.why_not:  # without a time of the first token, tokens count from start to end
            records = [replace(record, first_token_s=None) for record in records]
        # The server also counts tokens of failed or aborted requests, which never reached us.
        server = self.metrics.summary(None if tally.failed or tally.stopped else tally.tokens)
        options, urls = saved(self._options()), [where.url for where in self.sites]
        return EngineResult(
            records=tuple(sorted(records, key=lambda record: record.last_token_s)),
            report={**(tally.gaps.metrics() if self.task.engine.streaming else {}), **server.report},
            measured_from_s=min(record.start_s for record in records),
            measured_to_s=to_s,
            gpus=self.job.scenario.hardware.count,
            versions={**_versions(), **_server_version(self.task.engine.server, options)},
            facts=EngineFacts(
                server_metrics=server.server_metrics,
                not_measured={**server.not_measured, **clumped.not_measured(self.job.scenario.slo)},
                options_in_effect=options,
                servers=per_server(urls, records) if len(urls) > 1 else (),
                roles=self.metrics.roles(),
                other={
                    **({"url": urls[0]} if len(urls) == 1 else {}),
                    "model": self.task.model,
                    "client": {
                        **client,
                        "connections": sum(part.opened for part in parts),
                        "connections_opened": sum(part.opened_later for part in parts),
                        **_resent(records),
                        **_lateness(records),
                        **clumped.facts(),
                    },
                },
            ),
            warnings=(*self._warnings(tally, parts), *clumped.warnings(), *server.warnings),
            series=tally.series.series(to_s),
            stopped=tally.stopped or tally.finished_early,
        )

    def _check_answers(self, tally: Tally) -> None:
        """Check that requests succeeded.

        Raises:
            EngineError: none did, or none at one of several servers, or the server that we started died.
        """
        at = {record.server for record in tally.records} or {None}
        for index in sorted(at, key=lambda each: each or 0):
            mine = [record for record in tally.records if record.server == index]
            hopeless = all(record.error is not None for record in mine)
            if self.server is not None:
                self.server.check(_DYING_S if hopeless else 0.0)
            if hopeless:
                first = next((r.error for r in mine if r.error), "no request was sent")
                where = "" if index is None else f" at {self.sites[index]}"
                raise self.failure(f"all {len(mine)} requests{where} so far failed, the first: {first}")

    def _options(self) -> Iterator[Option]:
        """Yield the first server's options in effect, next to those that its command asks for.

        Those of a server that only reads have its role in their names.
        """
        if self.server is None:
            yield from with_asked(read_options(self.task.engine.server, self.sites[0], None), {})
            return
        yield from _options_of(self.server.writer)
        reading = next((each for each in self.server.behind if each.about.role == READS), None)
        for option in () if reading is None else _options_of(reading):
            yield replace(option, name=f"{READS}.{option.name}")

    def _warnings(self, tally: Tally, parts: Sequence[PartResult]) -> Iterator[str]:
        if tally.failed:
            bad = [record for record in tally.records if record.error]
            at = sorted({record.server for record in bad if record.server is not None})
            where = f" (at {' and '.join(str(self.sites[index]) for index in at)})" if at else ""
            yield f"{len(bad)} of {len(tally.records)} requests failed{where}, the first: {bad[0].error}"
        plan = self.task.plan
        whole = not (tally.failed or tally.stopped or tally.finished_early)
        if len(self.sites) > 1 and whole and plan.schedule is None and plan.duration_s is None:
            idle = idle_early([where.url for where in self.sites], tally.records)
            yield from [idle] if idle else []
        if tally.waited:
            most, divided = self.job.scenario.load.concurrency, math.lcm(len(parts), len(self.sites))
            why = f" because {most} were already in flight when they were due"
            if divided > 1:
                why = (
                    f", because their share of the load, one of {divided}, already had its part of "
                    f"load.concurrency {most} in flight when they were due, even if another had not"
                )
            yield (
                f"{tally.waited} requests had to wait{why}; their latency includes that wait: raise "
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
        if unjudged := parts[0].load.unjudged():
            yield unjudged
        if self.server is not None:
            yield from self.server.warnings
        if importlib.util.find_spec("uvloop") is None:
            yield "uvloop is not installed, which makes the client slower (pip install uvloop)"


def _metrics(sites: Sequence[Site], server: Server | None, kind: str, folder: Path) -> SeveralMetrics:
    """Return the samplers of the servers that do the work, which may be behind the one that is asked."""
    if server is None or not server.behind:
        return SeveralMetrics.of(sites, kind, folder)
    return RoleMetrics([(each.about, each.site) for each in server.behind], kind, folder)


def _options_of(server: Server) -> Iterator[Option]:
    read = read_options(server.engine.server, server.site, server.log)
    return with_asked(read, asked_of(server.command, server.engine))


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
