"""The server whose answer to a search is known."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.search.queue_server import QueueServer

MEAN_S = 0.004


def client(server: QueueServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)


def ask(connection: http.client.HTTPConnection, tokens: int = 3) -> str:
    connection.request("POST", "/v1/completions", json.dumps({"prompt": "w1 w2", "max_tokens": tokens}))
    return connection.getresponse().read().decode()


def drawn(count: int, seed: int) -> list[float]:
    draws = random.Random(seed)
    return [draws.expovariate(1 / MEAN_S) for _ in range(count)]


def test_an_answer_has_its_tokens_and_their_number() -> None:
    with QueueServer(MEAN_S, seed=1) as server:
        connection = client(server)
        *events, done = [line.removeprefix("data: ") for line in ask(connection).split("\n\n")[:-1]]
        connection.close()
    assert done == "[DONE]"
    *tokens, last = [json.loads(event) for event in events]
    assert [each["choices"][0]["text"] for each in tokens] == [" tok"] * 3
    assert [each["choices"][0]["finish_reason"] for each in tokens] == [None, None, "length"]
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 200), ("/health", 200), ("/metrics", 404)])
def test_other_pages(path: str, status: int) -> None:
    with QueueServer(MEAN_S, seed=1) as server:
        connection = client(server)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == status
        assert json.loads(answer.read()).get("object") == ("list" if status == 200 else None)
        connection.close()


def test_service_times_are_those_of_the_seed() -> None:
    with QueueServer(MEAN_S, seed=7) as server:
        connection = client(server)
        for _ in range(20):
            ask(connection)
        connection.close()
    assert server.record.service_s == drawn(20, seed=7)
    assert server.record.mean_service_ms == pytest.approx(sum(drawn(20, seed=7)) / 20 * 1e3)
    assert server.record.mean_late_ms >= 0


def closed_loop(server: QueueServer, requests: int) -> Callable[[int], list[float]]:
    def stream(_: int) -> list[float]:
        connection, times_s = client(server), []
        for _request in range(requests):
            begin_s = time.monotonic()
            ask(connection)
            times_s.append(time.monotonic() - begin_s)
        connection.close()
        return times_s

    return stream


def test_requests_wait_for_those_before_them() -> None:
    """Of the requests in flight only one is served: all of them take at least the sum of their services."""
    with QueueServer(MEAN_S, seed=7) as server, ThreadPoolExecutor(8) as pool:
        begin_s = time.monotonic()
        times_s = [each for stream in pool.map(closed_loop(server, 10), range(8)) for each in stream]
        took_s = time.monotonic() - begin_s
    services_s = drawn(80, seed=7)
    assert sorted(server.record.service_s) == sorted(services_s)
    assert took_s >= sum(services_s)
    # By Little's law, less the seven at each end that meet a shorter queue.
    assert sum(times_s) >= 8 * sum(services_s) * 0.5
