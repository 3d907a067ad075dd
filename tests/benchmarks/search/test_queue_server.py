"""The server whose answer to a search is known."""

from __future__ import annotations

import http.client
import json
import random
import time
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
    assert server.service_s == drawn(20, seed=7)
    assert server.mean_service_ms == pytest.approx(sum(drawn(20, seed=7)) / 20 * 1e3)


def test_only_one_request_is_served_at_a_time() -> None:
    def stream(_: int) -> None:
        connection = client(server)
        for _request in range(10):
            ask(connection)
        connection.close()

    with QueueServer(MEAN_S, seed=7) as server, ThreadPoolExecutor(8) as pool:
        begin_s = time.monotonic()
        list(pool.map(stream, range(8)))
        took_s = time.monotonic() - begin_s
    assert sorted(server.service_s) == sorted(drawn(80, seed=7))
    assert took_s >= sum(server.service_s)
