"""A scenario that is searched, and a server whose answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.suites import SMALL, Suites

ENGINE = """\
import os
import random

import pytest
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.records import RequestRecord


class Crowded:
    '''10% of requests take longer than 1 s at a concurrency of KNEE; independent of each other.

    The share of misses is 10% times (concurrency / KNEE) to the power of 4. Of an open loop, the same with
    the rate in req/s. A request comes every PACE s. Run number FAILS has a failed request, or all have. Run
    STOPS is interrupted.
    '''

    def run(self, job, observer):
        load = job.scenario.load
        with open("engine-runs.txt", "a+") as runs:
            runs.write(job.scenario.name + "\\n")
            runs.seek(0)
            number = len(runs.readlines())
        observer.phase("measuring")
        if str(number) == os.environ.get("STOPS"):
            raise KeyboardInterrupt
        level = load.at_once if load.arrival is None else load.arrival.rate_req_s
        missed = min(0.1 * (level / float(os.environ.get("KNEE", "20"))) ** 4, 1)
        draws, rows = random.Random(number), []
        fails = os.environ.get("FAILS") in {"all", str(number)}
        for i in range(job.workload.requests):
            begin_s = float(os.environ.get("PACE", "0.01")) * i
            latency_s = 1.5 if draws.random() < missed else 0.25 + 0.5 * draws.random()
            error = "the server said no" if fails and i == 0 else None
            rows.append(RequestRecord(i, begin_s, begin_s + 0.01, begin_s + latency_s, 8, 4, 4, error))
            observer.record(rows[-1])
            observer.progress(i + 1, 4 * (i + 1))
            if stopped := i + 1 < job.workload.requests and job.enough is not None and job.enough(rows[-1]):
                break
        last_s = max(row.last_token_s for row in rows)
        return EngineResult(tuple(rows), {}, 0.0, last_s, 0, versions={"crowded": "1.0"}, stopped=stopped)

    def script(self, job):
        return "# crowded"


@pytest.fixture(scope="session")
def dsr1_engine(dsr1_scenario):
    return Crowded()
"""
SCENARIO = (
    SMALL
    + """\
slo:
  request_latency_ms: 1000
search: {{{search}}}
"""
)
SEARCH = "load.concurrency: [1, 64], goal: 0.9, width_percent: 20"


def write(suites: Suites, search: str = SEARCH, name: str = "peak") -> Path:
    path = suites.folder / f"{name}.yaml"
    path.write_text(SCENARIO.format(name=name, search=search), encoding="utf-8")
    return path


def said(result: pytest.RunResult) -> str:
    return " ".join(result.stdout.str().split())
