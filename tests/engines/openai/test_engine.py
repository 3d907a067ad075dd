"""The engine `openai` against servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_dsr1.engines.in_effect import Option, differing, of_saved
from pytest_dsr1.engines.openai.client import connection, pool, self_check
from pytest_dsr1.engines.openai.client.connection import Connection, Owner
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.client.pool import Address, ConnectionPool
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.errors import EngineError
from pytest_dsr1.scenario.schema.load import Slo
from tests.helpers.openai_jobs import make_job, served, started
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import (
    DONE,
    FINISH,
    GOOD,
    STREAM_HEAD,
    Answer,
    Seen,
    chunk,
    event,
    plain,
    serving,
    stream,
    text,
    usage,
)

pytestmark = pytest.mark.usefixtures("client_unjudged")

BAD = 2
"""The request of four that is answered badly: its token ids begin with this."""


def measure(folder: Path, answer: Callable[[dict[str, Any]], Answer], **options: Any) -> EngineResult:
    """Run four requests against a server with this way to answer."""
    prompts, seen = options.pop("prompts", False), options.pop("seen", None)
    greeting, load = options.pop("greeting", b""), options.pop("load", None)
    tokens, slo = options.pop("output_tokens", 4), options.pop("slo", None)
    with serving(answer, seen=seen, greeting=greeting) as port:
        of = served(port, load, **options)
        if slo is not None:
            of = of.model_copy(update={"slo": Slo(**slo)})
        job = make_job(folder, of, prompts=prompts, output_tokens=tokens)
        watcher = Watcher()
        result = OpenAiEngine().run(job, watcher)
    assert sorted(r.id for r in watcher.records) == [0, 1, 2, 3]
    return result


def test_whole_measurement(tmp_path: Path) -> None:
    seen = Seen()
    result = measure(tmp_path, lambda _: GOOD, seen=seen, load={"warmup_requests": 2})
    assert [r.error for r in result.records] == [None] * 4
    assert {(r.input_tokens, r.output_tokens, r.events, r.scheduled_s) for r in result.records} == {
        (8, 4, 4, None)
    }
    assert all(
        r.first_token_s is not None and r.submitted_s < r.first_token_s <= r.last_token_s
        for r in result.records
    )
    assert result.facts.other["model"] == "served"
    assert len(seen.bodies) == 6, "two requests warm up"
    assert seen.connections == 5, "one each for the model, metrics and options, two are kept"
    assert min(seen.bodies, key=lambda body: body["prompt"]) == {
        "model": "served",
        "prompt": [0, *range(7)],
        "max_tokens": 4,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_server_says_its_version(tmp_path: Path) -> None:
    job = make_job(tmp_path, served(0))
    pages = {"/version": lambda: plain("200 OK", b'{"version": "0.26.0"}')}
    with serving(lambda _: GOOD, pages=pages) as port:
        result = OpenAiEngine().run(replace(job, scenario=served(port)), Watcher())
    assert result.versions["vllm"] == "0.26.0"
    assert list(of_saved(result.facts.options_in_effect)) == [Option("version", "0.26.0", "/version")]


def test_the_log_of_a_started_server_is_held_against_its_command(tmp_path: Path) -> None:
    """The stand-in logs its arguments, one of which is a line of vLLM."""
    line = "Initializing a V1 LLM engine (v0.26.0) with config: tensor_parallel_size=1, enforce_eager=False,"
    options: dict[str, Any] = {"server": "vllm", "tp": 2, "arguments": ["--enforce-eager", line]}
    result = OpenAiEngine().run(make_job(tmp_path, started(**options)), Watcher())
    assert result.versions["vllm"] == "0.26.0"
    assert differing(result.facts.options_in_effect, matter=True) == [
        "tp was 1 instead of 2 (server.log)",
        "cuda_graphs was on instead of off (server.log)",
    ]


def test_a_run_too_short_to_judge_the_client_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "SHORTEST_S", 60.0)
    (warning,) = measure(tmp_path, lambda _: GOOD).warnings
    assert re.fullmatch(
        r"the measurement took \d+\.\d\d s; below 60 s it is unknown whether the client was saturated, "
        "so these figures may not be the server's; raise load.num_requests",
        warning,
    )


def test_answer_that_is_not_streamed(tmp_path: Path) -> None:
    body = json.dumps({"choices": [{"text": " a"}], "usage": {"prompt_tokens": 8, "completion_tokens": 4}})
    result = measure(tmp_path, lambda _: plain("200 OK", body.encode()), streaming=False)
    assert {(r.error, r.first_token_s, r.output_tokens) for r in result.records} == {(None, None, 4)}
    assert result.report == {}


def test_chat_of_text(tmp_path: Path) -> None:
    seen = Seen()
    good = stream(
        text("", "content"), text(" a", "reasoning_content"), text(" b", "content"), FINISH, usage(4)
    )
    result = measure(tmp_path, lambda _: good, endpoint="chat", prompts=True, seen=seen)
    assert {(r.error, r.events) for r in result.records} == {(None, 2)}
    assert {b["messages"][0]["content"] for b in seen.bodies} == {f"{i} a b" for i in range(4)}


def test_body_of_the_scenario_wins(tmp_path: Path) -> None:
    seen = Seen()
    measure(tmp_path, lambda _: GOOD, seen=seen, body={"ignore_eos": None, "top_k": 1})
    assert "ignore_eos" not in seen.bodies[0]
    assert seen.bodies[0]["top_k"] == 1


GOOD_BUT_ODD: dict[str, Answer] = {
    "no [DONE]": stream(text(" a"), FINISH, usage(4)),
    "usage with the last token": stream(
        text(" a"),
        event(
            {
                "choices": [{"text": " b", "finish_reason": "length"}],
                "usage": {"prompt_tokens": 8, "completion_tokens": 4},
            }
        ),
    ),
    "several tokens in an event": stream(text(" a b c d"), FINISH, usage(4), DONE),
    "token ids and no usage": stream(
        event({"choices": [{"text": " a", "token_ids": [5, 6, 7]}]}),
        event({"choices": [{"text": "", "token_ids": [8]}]}),
        FINISH,
    ),
    "usage in every event": stream(
        *(
            event({"choices": [{"text": " a"}], "usage": {"prompt_tokens": 8, "completion_tokens": i}})
            for i in (1, 2, 3)
        ),
        FINISH,
        usage(4),
    ),
    "CRLF between events": stream(*(e.replace(b"\n", b"\r\n") for e in (text(" a"), FINISH, usage(4), DONE))),
    "comments": stream(b": ping\n\n", text(" a"), b": ping\n\n", FINISH, usage(4), DONE),
    "named events": stream(b"event: message\n" + text(" a"), FINISH, usage(4), DONE),
    "all in one chunk": stream(text(" a") + text(" b") + FINISH + usage(4) + DONE),
    "chunks cut anywhere": STREAM_HEAD
    + b"".join(chunk(bytes([b])) for b in text(" \u00e9\U0001f600") + usage(4) + DONE)
    + chunk(b""),
    "split UTF-8 character": [
        STREAM_HEAD,
        chunk(b'data: {"choices": [{"text": "\xe2\x82'),
        chunk(b'\xac"}]}\n\n' + FINISH + usage(4)),
        chunk(b""),
    ],
    "closed without keep-alive": [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
        text(" a") + FINISH + usage(4),
        "close",
    ],
    "open after [DONE]": [STREAM_HEAD + chunk(text(" a") + FINISH + usage(4) + DONE), "hang"],
    "closed after [DONE]": [STREAM_HEAD + chunk(text(" a") + FINISH + usage(4) + DONE), "close"],
    "100 Continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
    "keep-alive closed after the answer": [GOOD, "close"],
}


@pytest.mark.parametrize("answer", GOOD_BUT_ODD.values(), ids=list(GOOD_BUT_ODD))
def test_odd_but_good_answers(answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RACE_S", 60.0)  # a busy machine sees late that it was closed
    result = measure(tmp_path, lambda _: answer)
    assert [(r.error, r.output_tokens) for r in result.records] == [(None, 4)] * 4


def measure_bursts(folder: Path, tokens: int, **options: Any) -> EngineResult:
    """Answer through a proxy that buffers: first nothing, then all events at once."""
    burst = b"".join(map(chunk, (*[text(" a")] * tokens, FINISH, usage(tokens), DONE)))

    def answer(_: dict[str, Any]) -> Iterator[bytes]:
        yield STREAM_HEAD
        time.sleep(max(0.02, tokens * 0.004))
        yield burst + chunk(b"")

    return measure(folder, answer, output_tokens=tokens, **options)


def test_behind_a_proxy_that_buffers_nothing_that_rests_on_events_is_measured(tmp_path: Path) -> None:
    result = measure_bursts(tmp_path, 64)
    assert all(record.error is None for record in result.records)
    why = result.facts.not_measured["average_tpot"]
    assert why.startswith(
        "100% of the tokens came in clumps (limit 25%; on average 64 tokens at once, after "
    )
    assert why.endswith("(nginx: `proxy_buffering off`)")
    assert f"TTFT, TPOT and what follows from them are INVALID: {why}" in result.warnings
    assert "total_output_throughput" not in result.facts.not_measured
    client: Any = result.facts.other["client"]
    assert client["events_in_clumps_share"] == 1.0
    assert {record.first_token_s for record in result.records} == {None}, "so tokens count from start to end"


def test_a_burst_does_not_blame_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "SHORTEST_S", 0.0)
    monkeypatch.setattr(self_check, "LAG_SHARE_LIMITS", {"mean": -1.0, "P99": -1.0})
    assert "average_tpot" in measure_bursts(tmp_path, 64).facts.not_measured


def test_a_service_level_of_times_needs_times_of_tokens(tmp_path: Path) -> None:
    missing = measure_bursts(tmp_path, 32, slo={"preset": "mlperf-server"}).facts.not_measured
    assert {"goodput", "slo_attainment", "average_ttft"} <= missing.keys()


FOUR = (text(" a"), text(" b"), text(" c"), text(" d"))
SILENT = "the server sent nothing for 1 s"
COMPRESSED = r"the answer is compressed \(Content-Encoding: "
ASK_FOR_PLAIN = (
    r"\), which was not asked for \(Accept-Encoding: identity\); switch compression off for these paths in "
    r"the proxy or server, such as `gzip off` in nginx"
)
BAD_ANSWERS: dict[str, tuple[Answer, str]] = {
    "401": (
        plain("401 Unauthorized", b'{"error": {"message": "no key"}}'),
        "HTTP 401: no key; set engine.api_key_env",
    ),
    "403": (plain("403 Forbidden", b"{}"), "HTTP 403"),
    "404": (plain("404 Not Found", b'{"detail": "Not Found"}'), "HTTP 404: Not Found; check engine.url"),
    "429": (
        plain("429 Too Many Requests", b'{"error": "slow down"}', "Retry-After: 7"),
        r"HTTP 429: slow down \(retry after 7 s\); the server limits the rate",
    ),
    "422": (
        plain("422 Unprocessable", b'{"detail": [{"loc": ["body", "ignore_eos"], "msg": "Extra inputs"}]}'),
        "HTTP 422: body.ignore_eos: Extra inputs$",
    ),
    "502 of a proxy": (
        plain("502 Bad Gateway", b"<html><title>502 Bad Gateway</title></html>", kind="text/html"),
        "HTTP 502: an HTML page: 502 Bad Gateway$",
    ),
    "500": (plain("500 Internal Server Error", b"boom", kind="text/plain"), "HTTP 500: 'boom'"),
    "503 without a body": (plain("503 Service Unavailable", b""), "HTTP 503: the answer is empty"),
    "error without an object `error` in mid-stream": (
        stream(*FOUR[:2], event({"detail": "the engine is dead"}), DONE),
        "^the server reports: the engine is dead$",
    ),
    "compressed stream": (
        STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        + chunk(gzip.compress(text(" a") + FINISH + usage(4) + DONE))
        + chunk(b""),
        f"^{COMPRESSED}gzip{ASK_FOR_PLAIN}$",
    ),
    "compressed error": (
        plain("500 Oops", gzip.compress(b'{"error": "boom"}'), "content-encoding: BR"),
        f"^HTTP 500: {COMPRESSED}br{ASK_FOR_PLAIN}$",
    ),
    "HTML": (
        plain("200 OK", b"<html>hello", kind="text/html"),
        "expected a stream of events, but the server answered with text/html: an HTML page: hello",
    ),
    "JSON for a stream": (
        plain("200 OK", b'{"choices": []}'),
        "expected a stream of events, but the server answered with application/json",
    ),
    "redirect": (
        plain("307 Temporary Redirect", b"", "Location: http://elsewhere/v1"),
        "HTTP 307: redirected to http://elsewhere/v1; redirects are not followed: set engine.url to it",
    ),
    "half an event": (
        stream(*FOUR, b'data: {"usa'),
        "an event of the stream is not JSON, or incomplete",
    ),
    "event that is not an object": (
        stream(*FOUR, b"data: 17\n\n", usage(4)),
        "sent '17', expected a JSON object",
    ),
    "event that is not JSON": (stream(*FOUR, b"data: {]\n\n", usage(4)), "is not JSON"),
    "broken UTF-8": (stream(*FOUR, b'data: {"x": "\xff"}\n\n', usage(4)), "is not JSON"),
    "10 MB event": (stream(b"data: " + b"x" * 10_000_000), "an event of the stream is larger than 1 MiB"),
    "no final event": (stream(*FOUR), "the stream ended too early"),
    "no usage": (stream(*FOUR, FINISH, DONE), "did not report how many tokens"),
    "usage null": (
        stream(*FOUR, FINISH, event({"usage": {"completion_tokens": None}})),
        "did not report how many",
    ),
    "usage of a wrong kind": (
        stream(*FOUR, FINISH, event({"usage": {"completion_tokens": "4"}})),
        "did not report how",
    ),
    "too few tokens": (
        stream(*FOUR[:3], FINISH, usage(3)),
        "generated 3 tokens, expected exactly 4, finish reason length",
    ),
    "too many tokens": (stream(*FOUR, FINISH, usage(5)), "generated 5 tokens, expected exactly 4"),
    "no token": (stream(FINISH, usage(0)), "the server's answer has no tokens"),
    "tokens and no text": (stream(text(""), FINISH, usage(4)), "counts 4 tokens, but no event"),
    "empty stream": (stream(), "the stream ended too early"),
    "error in mid-stream": (
        stream(*FOUR[:2], event({"error": {"message": "CUDA out of memory"}}), DONE),
        "the server reports: CUDA out of memory",
    ),
    "error next to a text in mid-stream": (
        stream(
            text(" a"), event({"error": {"message": "boom"}, "choices": [{"text": " b"}]}), *FOUR, usage(4)
        ),
        "the server reports: boom",
    ),
    "stops in mid-stream": (
        [STREAM_HEAD + chunk(FOUR[0]), "close"],
        "during the stream, after 1 events with text",
    ),
    "closes within its head": (
        [b"HTTP/1.1 200 OK\r\nContent-", "close"],
        "closed the connection during its answer",
    ),
    "closes within a body": (
        [plain("500 Oops", b"0123456789")[:-3], "close"],
        "closed the connection during its answer",
    ),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n", "hang"], "the server's answer is not HTTP/1.1"),
    "broken chunk": ([STREAM_HEAD, b"zz\r\n", "hang"], "the server's answer is not HTTP/1.1"),
    "never answers": (["hang"], f"{SILENT}; if it is only slow"),
    "hangs in mid-stream": ([STREAM_HEAD + chunk(FOUR[0]), "hang"], SILENT),
}


@pytest.mark.parametrize(("answer", "message"), BAD_ANSWERS.values(), ids=list(BAD_ANSWERS))
def test_bad_answer_is_one_record(answer: Answer, message: str, tmp_path: Path) -> None:
    silence_s = 1.0 if message.startswith(SILENT) else 30.0
    result = measure(
        tmp_path, lambda body: answer if body["prompt"][0] == BAD else GOOD, silence_timeout_s=silence_s
    )
    errors = {r.id: r.error for r in result.records}
    bad = errors.pop(BAD)
    assert bad is not None
    assert re.search(message, bad), bad
    assert errors == {0: None, 1: None, 3: None}, "nothing of the others is lost"
    assert any("1 of 4 requests failed" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "kind", ["stops in mid-stream", "no HTTP", "10 MB event", "closes within its head", "hangs in mid-stream"]
)
def test_one_bad_connection_of_four(kind: str, tmp_path: Path) -> None:
    """The first four requests are in flight together when one connection goes wrong."""
    answer, message = BAD_ANSWERS[kind]
    together = threading.Barrier(4)

    def answered(body: dict[str, Any]) -> Answer:
        number = body["prompt"][0]
        if number < 4:
            together.wait(30)
        return answer if number == BAD else GOOD

    load = {"concurrency": 4, "num_requests": 16, "tolerated_failures": 1}
    watcher, seen = Watcher(), Seen()
    with serving(answered, seen=seen) as port:
        of = served(port, load, silence_timeout_s=1.0 if message.startswith(SILENT) else 30.0)
        result = OpenAiEngine().run(make_job(tmp_path, of), watcher)
    errors = {r.id: r.error for r in result.records}
    assert re.search(message, errors.pop(BAD) or "")
    assert errors == {i: None for i in range(16) if i != BAD}, "nothing of the others is lost"
    assert len(watcher.records) == len(seen.bodies) == 16, "and nothing was sent twice"
    client: Any = result.facts.other["client"]
    assert client["connections_opened"] <= 1, "the other three were kept"


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "comments": (STREAM_HEAD, chunk(b": ping\n\n")),
    "an event without an end": (STREAM_HEAD + chunk(b"data: "), chunk(b"x")),
    "a head without an end": (b"HTTP/1.1 200 OK\r\n", b"X-More: of it\r\n"),
    "a body without an end": (b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n", b"x"),
}


@pytest.mark.parametrize(("first", "drop"), DRIPS.values(), ids=list(DRIPS))
def test_server_that_drips_for_ever(first: bytes, drop: bytes, tmp_path: Path) -> None:
    """It is never silent; the limit of the whole run ends it."""
    left = threading.Event()

    def answer(body: dict[str, Any]) -> Iterator[bytes]:
        if body["prompt"][0] != BAD:
            yield GOOD
            return
        yield first
        try:
            while True:
                yield drop
                time.sleep(0.02)
        finally:
            left.set()

    watcher = Watcher()
    with serving(answer) as port:
        job = replace(make_job(tmp_path, served(port, silence_timeout_s=1.0)), run_timeout_s=1.5)
        with pytest.raises(
            EngineError, match=r"not all requests were answered within 1.5 s; .*run_timeout_s"
        ):
            OpenAiEngine().run(job, watcher)
        assert left.wait(30), "the connection was left open"
    assert sorted(r.id for r in watcher.records) == [0, 1, 3], "the others were written down"


def test_no_server(tmp_path: Path) -> None:
    with serving(lambda _: GOOD) as port:
        pass
    with pytest.raises(
        EngineError,
        match=f"http://127.0.0.1:{port}: connection refused: no server listens there; start it, or",
    ):
        OpenAiEngine().run(make_job(tmp_path, served(port)), Watcher())
    (tmp_path / "more").mkdir()
    job = make_job(tmp_path / "more", served(port, served_model="named"))
    with pytest.raises(EngineError, match="connection refused: no server listens there"):
        OpenAiEngine().run(job, Watcher())


LOCAL = [("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET)]


def resolving(monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, socket.AddressFamily]]) -> list[str]:
    """Hosts have these addresses; returns the hosts that are looked up."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[tuple[str, socket.AddressFamily]]:
        asked.append(host)
        return found

    monkeypatch.setattr(pool, "resolve", resolve)
    return asked


def test_a_host_with_several_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is mostly ::1 first, where a server that listens at 127.0.0.1 does not answer."""
    asked, seen = resolving(monkeypatch, LOCAL), Seen()
    with serving(lambda _: GOOD, seen=seen) as port:
        of = served(port, url=f"http://localhost:{port}", served_model="x")
        result = OpenAiEngine().run(make_job(tmp_path, of), Watcher())
    assert [r.error for r in result.records] == [None] * 4
    assert asked == ["localhost"], "all connections after the first go where that went"
    assert seen.connections == 4, "one each for metrics and options, two are kept"


@pytest.mark.parametrize("order", [1, -1])
def test_no_server_at_any_address_of_the_host(
    order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one address cannot be reached from here at all says less than that one refuses."""
    with serving(lambda _: GOOD) as port:
        pass
    resolving(monkeypatch, [("255.255.255.255", socket.AF_INET), ("127.0.0.1", socket.AF_INET)][::order])
    job = make_job(tmp_path, served(port, served_model="named"))
    with pytest.raises(EngineError, match="connection refused: no server listens there"):
        OpenAiEngine().run(job, Watcher())


def test_addresses_of_this_machine() -> None:
    assert ("127.0.0.1", socket.AF_INET) in asyncio.run(pool.resolve("localhost", 80))
    with pytest.raises(socket.gaierror):
        asyncio.run(pool.resolve("no-such-host.invalid", 80))


@pytest.mark.parametrize("greeted", [None, 2], ids=["on all connections", "on one of two"])
def test_answer_before_the_request(greeted: int | None, tmp_path: Path) -> None:
    """One such answer puts all in doubt: answers have no name, and belong to requests by their order."""
    with (
        serving(lambda _: GOOD, greeting=GOOD, greeted=greeted) as port,
        pytest.raises(EngineError) as caught,
    ):
        OpenAiEngine().run(make_job(tmp_path, served(port, served_model="x")), Watcher())
    assert re.search(r"the server sent (\d responses) that no request asked for", str(caught.value))


def test_all_fail(tmp_path: Path) -> None:
    with (
        serving(lambda _: plain("401 Unauthorized", b'{"error": "no"}')) as port,
        pytest.raises(EngineError) as caught,
    ):
        OpenAiEngine().run(make_job(tmp_path, served(port)), Watcher())
    assert "all 4 requests so far failed, the first: HTTP 401: no" in str(caught.value)


def test_failed_warm_up(tmp_path: Path) -> None:
    of = {"warmup_requests": 1, "tolerated_failures": 0}
    with serving(lambda _: plain("500 No", b"boom")) as port, pytest.raises(EngineError) as caught:
        OpenAiEngine().run(make_job(tmp_path, served(port, of)), Watcher())
    assert "1 of 1 warm-up requests failed, the first: HTTP 500: 'boom'" in str(caught.value)


def test_key_comes_from_the_environment_and_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "sk-very-secret")
    seen = Seen()
    result = measure(tmp_path, lambda _: GOOD, seen=seen, api_key_env="SECRET_KEY")
    assert all(b"Authorization: Bearer sk-very-secret" in head for head in seen.heads)
    assert "very-secret" not in repr(result)
    assert not any(b"very-secret" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_key_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    with pytest.raises(EngineError, match="the variable SECRET_KEY is not set"):
        OpenAiEngine().run(make_job(tmp_path, served(1, api_key_env="SECRET_KEY")), Watcher())


@pytest.mark.parametrize("name", ["on_header", "on_body", "on_message_complete", "connection_made"])
def test_ctrl_c_wherever_it_finds_the_loop(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a method that httptools or uvloop calls, an exception is taken for that method's failure."""
    method = getattr(Connection, name)

    def interrupted(self: Connection, *arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        method(self, *arguments)

    monkeypatch.setattr(Connection, name, interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path, lambda _: GOOD)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_a_connection_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that comes after the loop has begun to close would keep uvloop from ever ending."""
    made: list[Connection] = []

    class Interrupted(Connection):
        def __init__(self, owner: Owner) -> None:
            super().__init__(owner)
            made.append(self)
            if len(made) > 2:  # the first two are there before a request is sent
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pool, "Connection", Interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path, lambda _: [GOOD, "close"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(made) > 2


def test_nothing_is_sent_when_the_client_is_closed() -> None:
    """As by a request whose turn it is just when the run is interrupted."""

    async def close_and_send(port: int) -> set[asyncio.Task[Any]]:
        client = ConnectionPool(Address("127.0.0.1", port, None), silence_s=60.0, ended=lambda _: None)
        await client.open(2)
        await client.close()
        client.send(cast("Exchange", None))
        return asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}

    with serving(lambda _: GOOD) as port:
        assert asyncio.run(close_and_send(port)) == set()


@pytest.mark.parametrize("arrival", [None, {"type": "constant", "rate_req_s": 1000.0}])
def test_a_load_without_a_limit_makes_no_request_wait(
    tmp_path: Path, arrival: dict[str, object] | None
) -> None:
    result = measure(tmp_path, lambda _: GOOD, load={"concurrency": "all", "arrival": arrival})
    assert [record.error for record in result.records] == [None] * 4
    assert not [warning for warning in result.warnings if "had to wait" in warning]


def test_open_loop_counts_from_the_schedule(tmp_path: Path) -> None:
    load = {"concurrency": 1, "arrival": {"type": "constant", "rate_req_s": 1000.0}}
    result = measure(tmp_path, lambda _: GOOD, load=load)
    due = [r.scheduled_s for r in sorted(result.records, key=lambda r: r.id)]
    assert None not in due
    assert [round((s or 0) - (due[0] or 0), 6) for s in due] == [0.0, 0.001, 0.002, 0.003]
    assert all(r.start_s == r.scheduled_s and r.submitted_s >= r.start_s for r in result.records)
    assert "late_p99_ms" in result.facts.other["client"]  # type: ignore[operator]
