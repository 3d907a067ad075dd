"""How requests are sent: a server that records when they come, and answers when a test lets it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.client import connection
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.requests import Requests
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.records import Phase
from pytest_dsr1.workload.arrivals import schedule
from pytest_dsr1.workload.workload import Workload
from tests.helpers.metrics import from_records
from tests.helpers.openai_jobs import make_job, remarks, served
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import DONE, FINISH, GOOD, Answer, Seen, serving, stream, text, usage

pytestmark = pytest.mark.usefixtures("client_unjudged")

TIMER_S = 0.002
"""A timer of the loop may be early by its resolution."""


@dataclass
class Server:
    """Records each request, and lets the first ``held`` wait until all have come and some time has passed."""

    held: int = 0
    after_s: float = 0.0
    came_s: dict[int, float] = field(default_factory=dict)
    in_flight: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    gate: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: dict[str, Any]) -> Iterator[bytes]:
        number = body["prompt"][0]
        with self.lock:
            self.came_s[number] = time.monotonic()
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
        if number < self.held:
            if len(self.came_s) >= self.held:
                time.sleep(self.after_s)
                self.gate.set()
            assert self.gate.wait(30)
        with self.lock:
            self.in_flight -= 1
        yield GOOD


@dataclass
class Timed(Watcher):
    """Remembers when the measurement began, or a moment before."""

    def __init__(self) -> None:
        super().__init__()
        self.began_s = 0.0

    def phase(self, phase: Phase, detail: str = "") -> None:
        super().phase(phase, detail)
        self.began_s = time.monotonic()


def measured(folder: Path, server: Server, load: dict[str, Any], **engine: Any) -> tuple[EngineResult, float]:
    """The result, and a time before which nothing was measured."""
    watcher = Timed()
    with serving(server.answer) as port:
        job = make_job(folder, served(port, {"tolerated_failures": 0, **load}, **engine))
        result = OpenAiEngine().run(job, watcher)
    assert [r.error for r in result.records] == [None] * len(result.records)
    return result, watcher.began_s


def test_ramp_spreads_the_starts_evenly(tmp_path: Path) -> None:
    """None ends before all have started, so that each start is one of the ramp."""
    server = Server(held=4)
    load = {"concurrency": 4, "num_requests": 8, "ramp_s": 0.4}
    result, began_s = measured(tmp_path, server, load)
    sent_s = [r.submitted_s for r in sorted(result.records, key=lambda r: r.id)]
    assert len(sent_s) == 8
    assert all(sent_s[i] >= began_s + 0.1 * i - TIMER_S for i in range(4))
    assert server.most == 4, "never more than the concurrency"


@pytest.mark.parametrize("concurrency", ["all", 4])
def test_what_ends_during_the_ramp_hurries_no_request_that_has_its_own_start(
    tmp_path: Path, concurrency: int | str
) -> None:
    load = {"concurrency": concurrency, "num_requests": 4, "ramp_s": 0.4}
    result, began_s = measured(tmp_path, Server(), load)
    sent_s = [r.submitted_s for r in sorted(result.records, key=lambda r: r.id)]
    assert len(sent_s) == 4
    assert all(sent_s[i] >= began_s + 0.1 * i - TIMER_S for i in range(4))


def test_without_a_ramp_all_start_at_once_and_the_concurrency_is_kept(tmp_path: Path) -> None:
    server = Server(held=3)
    result, _ = measured(tmp_path, server, {"concurrency": 3, "num_requests": 9})
    first_end_s = min(r.last_token_s for r in result.records)
    assert sorted(r.id for r in result.records if r.submitted_s < first_end_s) == [0, 1, 2]
    assert server.most == 3
    assert all(r.scheduled_s is None for r in result.records)


def test_duration_ends_the_sending_and_what_flies_is_awaited(tmp_path: Path) -> None:
    server = Server(held=2, after_s=1.0)
    load = {"concurrency": 2, "num_requests": 50, "duration_s": 0.9}
    result, began_s = measured(tmp_path, server, load)
    assert sorted(server.came_s) == [0, 1], "requests ended after the duration, and none followed them"
    assert [r.output_tokens for r in result.records] == [4, 4]
    assert min(r.last_token_s for r in result.records) > began_s + 0.9


def test_duration_ends_an_open_loop(tmp_path: Path) -> None:
    load = {
        "concurrency": 9,
        "num_requests": 50,
        "duration_s": 0.5,
        "arrival": {"type": "constant", "rate_req_s": 10.0},
    }
    result, _ = measured(tmp_path, Server(), load)
    assert sorted(r.id for r in result.records) == list(range(len(result.records)))
    # That of 0.5 s is due when the time is up; a client that was held up sends fewer, never more.
    assert 1 <= len(result.records) <= 5


def test_what_waits_when_the_duration_is_over_is_never_sent(tmp_path: Path) -> None:
    server = Server(held=1, after_s=1.0)
    load = {
        "concurrency": 1,
        "num_requests": 4,
        "duration_s": 0.5,
        "arrival": {"type": "constant", "rate_req_s": 1000.0},
    }
    result, _ = measured(tmp_path, server, load)
    assert list(server.came_s) == [0]
    assert [r.id for r in result.records] == [0]
    # The stand-in sends its answer at once after a second, so a remark about clumps may follow.
    assert remarks(result.warnings)[1] == (
        "3 requests still waited after load.duration_s and were never sent; the measurement's "
        "figures omit them"
    )


@pytest.mark.parametrize("arrival", [None, {"type": "constant", "rate_req_s": 1000.0}])
def test_a_run_that_has_shown_enough_is_stopped(arrival: dict[str, Any] | None, tmp_path: Path) -> None:
    """The requests after the third are never answered; their streams are given up, and no more are sent."""
    asked: list[int] = []
    left = threading.Semaphore(0)

    def answer(body: dict[str, Any]) -> Iterator[bytes | str]:
        asked.append(body["prompt"][0])
        if asked[-1] < 3:
            yield GOOD
            return
        try:
            yield GOOD[:-40]
            yield "hang"
        finally:
            left.release()

    watcher = Watcher()
    with serving(answer) as port:
        of = served(port, {"concurrency": 2, "num_requests": 50, "arrival": arrival, "tolerated_failures": 0})
        job = replace(make_job(tmp_path, of), enough=lambda _: len(watcher.records) == 3)
        result = OpenAiEngine().run(job, watcher)
        for _ in asked[3:]:
            assert left.acquire(timeout=30), "the connection was not closed"
    assert result.stopped
    assert sorted(r.id for r in result.records) == sorted(r.id for r in watcher.records) == [0, 1, 2]
    assert [r.error for r in result.records] == [None] * 3
    assert len(asked) <= 5


@pytest.mark.parametrize("arrival", [None, {"type": "constant", "rate_req_s": 1000.0}])
def test_a_run_that_drains_waits_for_its_requests_in_flight(
    arrival: dict[str, Any] | None, tmp_path: Path
) -> None:
    """No more are sent, and every one that was sent has a record."""
    asked: list[int] = []

    def answer(body: dict[str, Any]) -> bytes:
        asked.append(body["prompt"][0])
        return GOOD

    watcher = Watcher()
    with serving(answer) as port:
        of = served(
            port, {"concurrency": 2, "num_requests": 500, "arrival": arrival, "tolerated_failures": 0}
        )
        job = replace(make_job(tmp_path, of), enough=lambda record: record.id == 2, drains=True)
        result = OpenAiEngine().run(job, watcher)
    assert result.stopped
    assert 3 <= len(asked) < 500
    assert sorted(r.id for r in result.records) == sorted(r.id for r in watcher.records) == sorted(asked)
    assert [r.error for r in result.records] == [None] * len(asked)


def test_enough_at_the_last_request_is_a_whole_run(tmp_path: Path) -> None:
    with serving(lambda _: GOOD) as port:
        of = served(port, {"concurrency": 1, "tolerated_failures": 0})
        job = replace(make_job(tmp_path, of), enough=lambda r: r.id == 3)
        result = OpenAiEngine().run(job, Watcher())
        again = OpenAiEngine().run(replace(job, drains=True), Watcher())
    assert (len(result.records), result.stopped) == (4, False)
    assert (len(again.records), again.stopped) == (4, False)


@pytest.mark.parametrize("arrival", [None, {"type": "constant", "rate_req_s": 1000.0}])
def test_only_the_first_requests_of_a_longer_file_are_sent(
    arrival: dict[str, Any] | None, tmp_path: Path
) -> None:
    server = Server()
    with serving(server.answer) as port:
        job = make_job(tmp_path, served(port, {"concurrency": 2, "num_requests": 8, "arrival": arrival}))
        job = replace(job, workload=replace(job.workload, requests=3))
        result = OpenAiEngine().run(job, Watcher())
    assert sorted(server.came_s) == sorted(r.id for r in result.records) == [0, 1, 2]


def test_open_loop_keeps_its_schedule_whatever_the_server_does(tmp_path: Path) -> None:
    """Nothing is answered before all have come: a closed loop of two would wait for ever."""
    load = {"concurrency": 4, "num_requests": 4, "arrival": {"type": "constant", "rate_req_s": 100.0}}
    result, _ = measured(tmp_path, Server(held=4), load)
    assert remarks(result.warnings) == ()


def test_what_waits_under_the_cap_of_an_open_loop_is_counted(tmp_path: Path) -> None:
    server = Server(held=1, after_s=1.0)
    load = {"concurrency": 1, "num_requests": 4, "arrival": {"type": "constant", "rate_req_s": 1000.0}}
    result, _ = measured(tmp_path, server, load)
    assert server.most == 1
    assert remarks(result.warnings) == (
        "3 requests had to wait because 1 were already in flight when they were due; their latency includes "
        "that wait: raise load.concurrency, or accept that the server does not keep up with this rate",
    )
    first, *waited = sorted(result.records, key=lambda r: r.id)
    for i, record in enumerate(waited, 1):
        assert record.scheduled_s == pytest.approx((first.scheduled_s or 0) + i / 1000, abs=1e-6)
        assert record.submitted_s >= first.last_token_s
        assert record.start_s == record.scheduled_s, "its latency counts from here"
    waits_ms = [(r.submitted_s - (r.scheduled_s or 0)) * 1e3 for r in waited]
    assert min(waits_ms) > 900, "what the first took, less the milliseconds that lie between them"
    client: Any = result.facts.other["client"]
    assert client["late_max_ms"] == pytest.approx(max(waits_ms), abs=0.001)
    assert from_records(result.records, 0)["average_ttft"] > sum(waits_ms) / 4


@pytest.mark.parametrize("kind", ["constant", "poisson", "gamma", "trace"])
def test_arrivals_from_scenario_to_server(kind: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    rows = [{"timestamp": 5000 + 40 * i * i, "input_length": 8, "output_length": 4} for i in range(6)]
    trace.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arrivals: dict[str, dict[str, Any]] = {
        "constant": {"rate_req_s": 50.0},
        "poisson": {"rate_req_s": 50.0, "seed": 1},
        "gamma": {"rate_req_s": 50.0, "burstiness": 0.5},
        "trace": {"path": str(trace), "speedup": 10.0},
    }
    load = {"concurrency": 6, "num_requests": 6, "arrival": {"type": kind, **arrivals[kind]}}
    server = Server()
    result, began_s = measured(tmp_path, server, load)
    records = sorted(result.records, key=lambda r: r.id)
    due = schedule(served(1, load).load)
    assert due is not None
    start_s = records[0].scheduled_s
    assert start_s is not None
    assert start_s >= began_s
    assert [(r.scheduled_s or 0) - start_s for r in records] == pytest.approx(due, abs=1e-6)
    assert all(r.submitted_s >= (r.scheduled_s or 0) - TIMER_S for r in records), "none is early"
    assert all(server.came_s[r.id] >= r.submitted_s for r in records)
    assert [r.submitted_s for r in records] == sorted(r.submitted_s for r in records), "in order"


def test_each_answer_belongs_to_its_request(tmp_path: Path) -> None:
    """Kept connections, answers of different lengths, and one that fails among them."""

    def answer(body: dict[str, Any]) -> Answer:
        number = body["prompt"][0]
        if number == 7:
            return [GOOD[:-40], "close"]
        return stream(*(text(" a") for _ in range(number + 1)), FINISH, usage(number + 1), DONE)

    load = {"concurrency": 3, "num_requests": 20, "tolerated_failures": 1, "warmup_requests": 4}
    with serving(answer) as port:
        job = make_job(tmp_path, served(port, load, exact_output=False))
        result = OpenAiEngine().run(job, Watcher())
    good = {r.id: (r.output_tokens, r.events) for r in result.records if r.error is None}
    assert good == {i: (i + 1, i + 1) for i in range(20) if i != 7}
    assert [r.last_token_s for r in result.records] == sorted(r.last_token_s for r in result.records)
    assert from_records(result.records, 0)["average_output_length"] == pytest.approx(202 / 19)


@pytest.mark.parametrize("times", [1, 2])
def test_a_request_on_a_connection_that_the_server_closes_is_sent_again_once(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the kept connection with the second request unread in it; the first new one may too."""
    monkeypatch.setattr(connection, "RACE_S", 60.0)  # a busy machine sees late that it was closed
    came: list[int] = []

    def answer(body: dict[str, Any]) -> Answer:
        came.append(body["prompt"][0])
        if came[-1] == 1 and times == 2:
            return ["close"]
        return [GOOD, "drop the next"] if came == [0] else GOOD

    load = {"concurrency": 1, "num_requests": 3}
    with serving(answer) as port:
        result = OpenAiEngine().run(make_job(tmp_path, served(port, load)), Watcher())
    errors = {r.id: r.error for r in result.records}
    lost = "the server closed the connection before it answered"
    assert errors == {0: None, 1: None if times == 1 else lost, 2: None}
    assert {r.id: r.resent for r in result.records} == {0: False, 1: True, 2: False}
    assert came == [0, 1, 2], "the server read each once"
    client: Any = result.facts.other["client"]
    assert client["resent"] == 1
    assert client["connections_opened"] == times
    assert remarks(result.warnings)[-1] == (
        "1 requests were sent again, because the server closed the idle connection just as they were sent; "
        "their latency starts at the first attempt (`resent` in requests.jsonl)"
    )


def test_a_request_that_the_server_worked_on_and_dropped_has_failed(tmp_path: Path) -> None:
    came: list[int] = []

    def answer(body: dict[str, Any]) -> Iterator[bytes | str]:
        came.append(body["prompt"][0])
        if came[-1] == 1:
            time.sleep(10 * connection.RACE_S)
            yield "close"
        yield GOOD

    load = {"concurrency": 1, "num_requests": 3}
    with serving(answer) as port:
        result = OpenAiEngine().run(make_job(tmp_path, served(port, load)), Watcher())
    errors = {r.id: r.error for r in result.records}
    assert errors == {0: None, 1: "the server closed the connection before it answered", 2: None}
    assert came == [0, 1, 2], "it was not asked again"
    assert not any(r.resent for r in result.records)
    assert "resent" not in result.facts.other["client"]  # type: ignore[operator]


def test_a_resent_warm_up_request_is_none_of_the_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RACE_S", 60.0)
    came: list[int] = []

    def answer(body: dict[str, Any]) -> Answer:
        came.append(body["prompt"][0])
        return [GOOD, "drop the next"] if len(came) == 1 else GOOD

    seen = Seen()
    load = {"concurrency": 1, "num_requests": 3, "warmup_requests": 2}
    with serving(answer, seen=seen) as port:
        result = OpenAiEngine().run(make_job(tmp_path, served(port, load)), Watcher())
    assert len(came) == 5
    assert seen.connections == 5, "asked for the model, metrics, options, and one was opened anew"
    assert not any(r.resent for r in result.records)
    assert "resent" not in result.facts.other["client"]  # type: ignore[operator]
    assert not any("sent again" in warning for warning in remarks(result.warnings))


def test_what_falls_due_while_requests_are_made_is_sent_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making the last requests takes longer than their gaps: each look at the time may send some of them."""
    made = Requests.exchanges

    def slowly(
        self: Requests, workload: Workload, count: int, *args: Any, **options: Any
    ) -> Iterator[Exchange]:
        for exchange in made(self, workload, count, *args, **options):
            time.sleep(0.0005)
            yield exchange

    monkeypatch.setattr(Requests, "exchanges", slowly)
    load = {
        "num_requests": 1500,  # more than are made before the beginning
        "concurrency": 64,
        "arrival": {"type": "constant", "rate_req_s": 3000},
    }
    server = Server()
    result, _ = measured(tmp_path, server, load)
    assert [r.id for r in sorted(result.records, key=lambda r: r.submitted_s)] == list(range(1500))
