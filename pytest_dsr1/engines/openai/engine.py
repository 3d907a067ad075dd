"""The engine `openai`: any server with OpenAI's API, either running already or started here.

One event loop sends the requests (uvloop if it is installed), or one in each of several processes if the load
is large. The client checks itself: a measurement in which it was saturated is INVALID.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.questions import ask
from pytest_dsr1.engines.openai.requests import Requests
from pytest_dsr1.engines.openai.server import roles
from pytest_dsr1.engines.openai.server.command import in_step, launch_command, planned_program
from pytest_dsr1.engines.openai.server.reuse import ServerLease, ServerPool
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import AskingInterruptedError, EngineResult, Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.masking import without_secrets
from pytest_dsr1.records import Observer
from pytest_dsr1.text import shell_comment
from pytest_dsr1.workload.arrivals import schedule


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
            servers = "the server" if len(engine.urls) == 1 else "the servers"
            at = " and ".join(map(without_secrets, engine.urls))
            return f"{shell_comment(f'against {servers} at {at}')}\n{line}"
        if engine.disaggregated is None:
            command = in_step(launch_command(job.scenario, 8000, program=planned_program(job)), job)
            return f"{command.comment()}\n{line}"
        return "\n".join([*roles.script(job), line])

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            UserError: the server does not have some of the scenario's options.
            EngineError: the measurement failed; a server that was started or kept has
                ended.
            InvalidRunError: the client was saturated.
        """
        engine = OpenAi.of(job.scenario)
        if importlib.util.find_spec("httptools") is None:
            raise EngineError(
                f"{job.scenario.name}: the engine openai needs httptools, which is not installed: "
                "pip install 'pytest-dsr1[openai]'"
            )
        # These need httptools.
        from pytest_dsr1.engines.openai.client.plan import Plan
        from pytest_dsr1.engines.openai.measuring import Measuring
        from pytest_dsr1.engines.openai.sending.part import Task

        with ExitStack() as stack:
            lease: ServerLease | None = None
            if engine.url is None:
                pool = self._pool
                if pool is None:
                    pool = ServerPool()
                    stack.callback(pool.end)
                lease = stack.enter_context(pool.lease(job, observer))
            server = None if lease is None else lease.server
            urls = engine.urls if server is None else (server.url,)
            sites = _sites(engine, urls)
            # transformers serve lists the models in its cache, but only accepts the name it was started with.
            pinned = (
                job.scenario.model.path if server is not None and engine.server == "transformers" else None
            )
            listing = sites if server is None else [server.writer.site]
            model = engine.served_model or pinned or _served_model(listing, observer)
            load = job.scenario.load
            plan = Plan(job.workload.requests, load.at_once, load.ramp_s, schedule(load), load.duration_s)
            task = Task(engine, tuple(urls), model, job.workload, load.warmup_requests, plan)
            run = Measuring(job, observer, sites, task, server)
            parts = run.measure()
            result = run.result(parts)
            where = sites[0]
            requests = Requests(engine, model, where.authority, where.prefix, where.secret)
            answers, interrupted = ask(job.questions, where, requests, server, observer)
            result = replace(result, answers=answers)
            if interrupted:
                raise AskingInterruptedError(result)
            if lease is None:
                return replace(result, facts=replace(result.facts, server_started=False))
            starts = set().union(*(part.prompt_starts for part in parts))
            result = lease.with_server(result, starts, job.scenario)
            # A server that leaves questions unanswered may still be busy with them, or about to die.
            lease.unanswered |= any(answer.error is not None for answer in result.answers)
            return result


def _sites(engine: OpenAi, urls: Sequence[str]) -> list[Site]:
    """Return the servers at these addresses.

    Raises:
        EngineError: one of them is not usable, or another writing of an earlier one.
    """
    sites = [site(engine, url) for url in urls]
    places = [(where.tls is None, where.authority, where.prefix) for where in sites]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise EngineError(
                f"engine.url.{index}: expected each server once, found {sites[index]} again, which is also "
                f"engine.url.{places.index(place)}"
            )
    return sites


def _served_model(sites: Sequence[Site], observer: Observer) -> str:
    """Return the model that the servers list first.

    Raises:
        EngineError: a server lists none, or a different one from the first server.
    """
    models = []
    for where in sites:
        observer.phase("loading", f"asking {where} for its model")
        models.append(where.served_model())
        if models[-1] != models[0]:
            raise EngineError(
                f"engine.url: {sites[0]} serves {models[0]}, but {where} serves {models[-1]}; list servers "
                "of one model, or give its name in engine.served_model"
            )
    return models[0]
