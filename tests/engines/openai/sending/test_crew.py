"""Loads that several processes send, and loads for several servers."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai import measuring
from pytest_dsr1.engines.openai.client import ports
from pytest_dsr1.engines.openai.client.connection import Connection
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.sending.crew import processes_for, shares
from pytest_dsr1.engines.openai.sending.part import Share
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.errors import EngineError, InvalidRunError
from pytest_dsr1.process.supervisor import descendants
from pytest_dsr1.scenario.schema.scenario import Load
from tests.helpers.openai_jobs import make_job, served
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import (
    DONE,
    FINISH,
    GOOD,
    STREAM_HEAD,
    Answer,
    Seen,
    chunk,
    plain,
    serving,
    text,
    usage,
)

pytestmark = pytest.mark.usefixtures("client_unjudged")

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test; returns their ports."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(serving(*args, **options))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the number of processes, which else depends on load and CPUs."""
    return lambda number: monkeypatch.setattr(measuring, "processes_for", lambda *_: number)


def measured(folder: Path, load: dict[str, Any], *ports: int, **more: Any) -> tuple[EngineResult, Watcher]:
    watcher = Watcher()
    return OpenAiEngine().run(job(folder, load, *ports, **more), watcher), watcher


def job(folder: Path, load: dict[str, Any], *ports: int, **engine: Any) -> Job:
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    return make_job(folder, served(0, load, url=urls if len(urls) > 1 else urls[0], **engine))


CLOSED = {"concurrency": 6, "num_requests": 40, "warmup_requests": 4}


def test_processes_divide_the_requests(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(3)
    seen, lock, most, now = Seen(), threading.Lock(), 0, 0

    def answer(_: dict[str, Any]) -> Iterator[bytes]:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        yield GOOD

    with serving(answer, seen=seen) as port:
        result, watcher = measured(tmp_path, CLOSED, port)
    asked = [body["prompt"][0] for body in seen.bodies]
    warmed_up = [prompt for body in seen.bodies if (prompt := body["prompt"])[-1] < 4 and prompt[0] == 6]
    assert len(warmed_up) == 4, "reversed prompts"
    assert sorted(set(asked)) == list(range(40)), "each request"
    assert len(asked) == 44
    assert most == 6, "the whole concurrency"
    assert sorted(watcher.ids) == list(range(40)), "records come while it runs"
    assert sorted(record.id for record in result.records) == list(range(40))
    assert [r.last_token_s for r in result.records] == sorted(r.last_token_s for r in result.records)
    assert all(record.server is None and record.error is None for record in result.records)
    assert watcher.done[-1] == (40, 160)
    client = result.facts.other["client"]
    assert isinstance(client, dict)
    assert client["processes"] == 3
    assert client["connections"] == 6
    assert client["connections_opened"] == 0
    assert result.facts.other["url"] == f"http://127.0.0.1:{port}"
    assert not list((tmp_path / "engine").glob("client-*.log")), "nothing to say"
    assert not descendants(os.getpid())


def test_one_clock(tmp_path: Path, processes: Callable[[int], None]) -> None:
    """An open loop keeps its one schedule, and all series begin together."""
    processes(2)
    load = {
        "concurrency": 8,
        "num_requests": 60,
        "arrival": {"type": "constant", "rate_req_s": 50.0},
    }

    def answer(_: dict[str, Any]) -> Iterator[bytes]:
        yield STREAM_HEAD + chunk(text(" a"))
        time.sleep(0.01)
        yield b"".join(map(chunk, [text(" b"), text(" c"), text(" d"), FINISH, usage(4), DONE, b""]))

    with serving(answer) as port:
        result, _ = measured(tmp_path, load, port)
    due_s = [r.scheduled_s for r in sorted(result.records, key=lambda r: r.id)]
    gaps_s = [b - a for a, b in pairwise(due_s)]  # type: ignore[operator]
    assert gaps_s == pytest.approx([0.02] * 59)
    assert all(r.submitted_s >= (r.scheduled_s or 0.0) for r in result.records)
    assert [tokens for _, tokens in result.series] == [pytest.approx(200.0, abs=8)]
    streamed_s = [r.last_token_s - r.first_token_s for r in result.records if r.first_token_s is not None]
    gap_ms = sum(streamed_s) / (3 * 60) * 1e3
    assert result.report["average_inter_event_gap"] == pytest.approx(gap_ms), "of both processes"


def trace_of(folder: Path, times_ms: list[int]) -> dict[str, Any]:
    """Return the arrivals of a trace with these times."""
    path = folder / "trace.jsonl"
    lines = [{"timestamp": each, "input_length": 8, "output_length": 4} for each in times_ms]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return {"type": "trace", "path": str(path)}


@pytest.mark.parametrize(("number", "servers"), [(1, 1), (2, 1), (3, 1), (2, 3)])
def test_a_trace_keeps_its_times(
    number: int, servers: int, tmp_path: Path, processes: Callable[[int], None], serve: Serve
) -> None:
    """Each request is sent once, at the time of its own line, whatever process sends it."""
    processes(number)
    times_ms = [5_000, 5_000, 5_010, 5_200, 5_200, 5_200, 5_200, 5_330, 5_331, 5_500, 5_900, 6_000, 6_000]
    arrival = {**trace_of(tmp_path, times_ms), "speedup": 2}
    count = len(times_ms)
    load = {"concurrency": 36, "num_requests": count, "warmup_requests": 0, "arrival": arrival}
    seen = Seen()
    result, _ = measured(tmp_path, load, *(serve(lambda _: GOOD, seen=seen) for _ in range(servers)))
    assert sorted(body["prompt"][0] for body in seen.bodies) == list(range(count))
    ordered = sorted(result.records, key=lambda record: record.id)
    due_s = [record.scheduled_s or 0.0 for record in ordered]
    assert [each - due_s[0] for each in due_s] == pytest.approx([(ms - 5_000) / 2e3 for ms in times_ms])
    assert all(record.submitted_s >= each for record, each in zip(ordered, due_s, strict=True))
    assert not any("had to wait" in warning for warning in result.warnings)


SHARED = (
    ", because their share of the load, one of 2, already had its part of load.concurrency 4 in flight when "
    "they were due, even if another had not"
)


@pytest.mark.parametrize(
    ("number", "servers", "why"),
    [(1, 1, " because 4 were already in flight when they were due"), (2, 1, SHARED), (1, 2, SHARED)],
)
def test_each_share_of_an_open_loop_has_its_part_of_the_concurrency(
    number: int, servers: int, why: str, tmp_path: Path, processes: Callable[[int], None], serve: Serve
) -> None:
    """Twelve requests come at once, and no answer is read before all of them are due."""
    processes(number)
    arrival = trace_of(tmp_path, [0] * 12)
    load = {"concurrency": 4, "num_requests": 12, "warmup_requests": 0, "arrival": arrival}
    result, _ = measured(tmp_path, load, *(serve(lambda _: GOOD) for _ in range(servers)))
    assert len(result.records) == 12
    assert [warning for warning in result.warnings if "had to wait" in warning] == [
        f"8 requests had to wait{why}; their latency includes that wait: raise load.concurrency, or accept "
        "that the server does not keep up with this rate"
    ]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_several_servers(number: int, tmp_path: Path, processes: Callable[[int], None], serve: Serve) -> None:
    processes(number)
    seen = [Seen(), Seen()]
    ports = [serve(lambda _: GOOD, seen=each) for each in seen]
    result, _ = measured(tmp_path, CLOSED, *ports)
    assert [len(each.bodies) for each in seen] == [22, 22]
    assert {record.server for record in result.records} == {0, 1}
    servers = result.facts.servers
    assert [each.url for each in servers] == [f"http://127.0.0.1:{port}" for port in ports]
    for index, each in enumerate(servers):
        mine = [record for record in result.records if record.server == index]
        assert (each.requests, each.failed, each.output_tokens) == (20, 0, 80)
        took_ms = [(r.first_token_s - r.start_s) * 1e3 for r in mine if r.first_token_s is not None]
        assert each.ttft_mean_ms == pytest.approx(sum(took_ms) / 20, abs=1e-3)
        assert each.ttft_p99_ms is not None
        assert each.ttft_p99_ms <= max(took_ms) + 1e-3
    total_s = result.measured_to_s - result.measured_from_s
    assert sum(each.output_tok_s for each in servers) == pytest.approx(160 / total_s, rel=0.01)


def test_ipv6(tmp_path: Path) -> None:
    seen = Seen()
    with serving(lambda _: GOOD, seen=seen, host="::1") as port:
        of = served(0, url=f"http://[::1]:{port}")
        result = OpenAiEngine().run(make_job(tmp_path, of), Watcher())
    assert not any(record.error for record in result.records)
    assert b"Host: [::1]:%d" % port in seen.heads[-1]


@pytest.mark.parametrize("number", [1, 2])
def test_one_server_of_two_fails(
    number: int, tmp_path: Path, processes: Callable[[int], None], serve: Serve
) -> None:
    processes(number)
    good = serve(lambda _: GOOD)
    bad = serve(lambda _: plain("500 Oops", b'{"error": "no memory"}'))
    load = {"concurrency": 4, "num_requests": 400, "tolerated_failures": 400}
    why = rf"all \d+ requests at http://127\.0\.0\.1:{bad} so far failed, the first: .*no memory"
    with pytest.raises(EngineError, match=why):
        measured(tmp_path, load, good, bad)
    assert not descendants(os.getpid())


def test_servers_of_two_models(tmp_path: Path, serve: Serve) -> None:
    models = plain("200 OK", b'{"data": [{"id": "other"}]}')
    ports = serve(lambda _: GOOD), serve(lambda _: GOOD, pages={"/v1/models": lambda: models})
    with pytest.raises(EngineError) as error:
        measured(tmp_path, CLOSED, *ports)
    assert str(error.value) == (
        f"engine.url: http://127.0.0.1:{ports[0]} serves served, but http://127.0.0.1:{ports[1]} serves "
        "other; list servers of one model, or give its name in engine.served_model"
    )


def test_a_server_that_is_not_there(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(2)
    with pytest.raises(EngineError, match=r"^127\.0\.0\.1:9: connection refused: no server listens there"):
        measured(tmp_path, CLOSED, 9, served_model="x")
    assert not descendants(os.getpid())


def test_a_warm_up_that_fails(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(2)
    load = {**CLOSED, "tolerated_failures": 1}
    with (
        serving(lambda _: plain("500 Oops", b'{"error": "no memory"}')) as port,
        pytest.raises(EngineError, match=r"4 of 4 warm-up requests failed, the first: .*no memory"),
    ):
        measured(tmp_path, load, port)


def test_a_process_is_killed(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(2)

    def answer(_: dict[str, Any]) -> Answer:
        workers = [pid for pid in descendants(os.getpid()) if _is_worker(pid)]
        if len(workers) == 2:
            os.kill(max(workers), signal.SIGKILL)
        return GOOD

    with serving(answer) as port, pytest.raises(EngineError) as error:
        measured(tmp_path, {**CLOSED, "warmup_requests": 0}, port)
    expected = (
        r"process [12] of 2 of the load generator ended with SIGKILL; if the kernel killed it for its memory "
        r"\(dmesg\), lower load\.concurrency"
    )
    assert re.match(expected, str(error.value))
    assert not descendants(os.getpid())


def _is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"pytest_dsr1.engines.openai.sending.worker" in words[:4]


def test_enough_ends_all(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(2)
    with serving(lambda _: GOOD) as port:
        asked = job(tmp_path, {"concurrency": 4, "num_requests": 4000}, port)
        seen: list[int] = []

        def enough(_: object) -> bool:
            seen.append(1)
            return len(seen) >= 50

        result = OpenAiEngine().run(replace(asked, enough=enough, drains=True), Watcher())
    assert result.stopped
    assert 50 <= len(result.records) < 4000
    assert not any(record.error for record in result.records)


def test_enough_after_a_process_is_done(tmp_path: Path, processes: Callable[[int], None]) -> None:
    """It has ended by itself, and needs no command to do so."""
    processes(2)

    def answer(body: dict[str, Any]) -> Answer:
        while body["prompt"][0] % 2 and sum(map(_is_worker, descendants(os.getpid()))) > 1:
            time.sleep(0.01)
        return GOOD

    seen: list[int] = []

    def enough(_: object) -> bool:
        seen.append(1)
        return len(seen) >= 5

    with serving(answer) as port:
        asked = job(tmp_path, {"concurrency": 2, "num_requests": 8, "warmup_requests": 0}, port)
        result = OpenAiEngine().run(replace(asked, enough=enough, drains=True), Watcher())
    assert 5 <= len(result.records) <= 8
    assert not any(record.error for record in result.records)


def test_a_supervisor_is_killed(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(2)

    def answer(_: dict[str, Any]) -> Answer:
        above = descendants(os.getpid()) - {pid for pid in descendants(os.getpid()) if _is_worker(pid)}
        if above:
            os.kill(max(above), signal.SIGKILL)
        return GOOD

    with serving(answer) as port, pytest.raises(EngineError, match=r"process [12] of 2 .* with SIGKILL; if"):
        measured(tmp_path, {**CLOSED, "warmup_requests": 0}, port)
    assert not descendants(os.getpid())


@pytest.mark.parametrize("removed", [False, True])
def test_the_current_folder(
    removed: bool, tmp_path: Path, processes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are not modules of the load generator, and it need not exist."""
    processes(2)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    if removed:
        here.rmdir()
    else:
        (here / "queue.py").write_text("raise RuntimeError('not for the load generator')\n")
    with serving(lambda _: GOOD) as port:
        assert len(measured(tmp_path, CLOSED, port)[0].records) == 40


@pytest.mark.parametrize("number", [1, 2])
def test_a_dataset_that_breaks(number: int, tmp_path: Path, processes: Callable[[int], None]) -> None:
    """It is not the engine that fails, so the run is not repeated."""
    processes(number)
    with serving(lambda _: GOOD) as port:
        asked = job(tmp_path, CLOSED, port)
        lines = asked.workload.path.read_text().splitlines()
        lines[21] = '{"broken'
        asked.workload.path.write_text("\n".join(lines))
        with pytest.raises(InvalidRunError, match="is not a usable dataset") as error:
            OpenAiEngine().run(asked, Watcher())
    assert type(error.value) is InvalidRunError


@pytest.mark.parametrize("number", [1, 2])
def test_one_server_of_two_dies(
    number: int, tmp_path: Path, processes: Callable[[int], None], serve: Serve
) -> None:
    processes(number)
    asked, lock = 0, threading.Lock()

    def dying(_: dict[str, Any]) -> Answer:
        nonlocal asked
        with lock:
            asked += 1
            return GOOD if asked <= 30 else ["close"]

    good, bad = serve(lambda _: GOOD), serve(dying)
    load = {"concurrency": 4, "num_requests": 200, "warmup_requests": 0, "tolerated_failures": 200}
    result, _ = measured(tmp_path, load, good, bad)
    assert result.warnings[0].startswith(
        f"70 of 200 requests failed (at http://127.0.0.1:{bad}), the first: the server closed the connection"
    )


@pytest.mark.parametrize("again", ["http://127.0.0.1:9/", "http://127.0.0.1:9/v1", "HTTP://127.0.0.1:9"])
def test_one_server_twice(again: str, tmp_path: Path) -> None:
    of = served(0, {"concurrency": 4, "num_requests": 4}, url=["http://127.0.0.1:9", again])
    with pytest.raises(EngineError) as error:
        OpenAiEngine().run(make_job(tmp_path, of), Watcher())
    assert str(error.value) == (
        "engine.url.1: expected each server once, found http://127.0.0.1:9 again, which is also engine.url.0"
    )


def test_secrets_in_addresses(tmp_path: Path, serve: Serve) -> None:
    """Paths that differ only in what is masked are different servers."""
    of_key = ["sk-planted0123456789abcdef", "sk-planted9876543210abcdef"]
    port = serve(lambda _: GOOD)
    of = served(0, CLOSED, url=[f"http://127.0.0.1:{port}/{key}" for key in of_key], server="vllm")
    watcher = Watcher()
    result = OpenAiEngine().run(make_job(tmp_path, of), watcher)
    assert len(result.records) == 40
    said = f"{result.facts} {result.warnings} {watcher}"
    assert not any(key in said for key in of_key)
    assert f"http://127.0.0.1:{port}/(not shown)" in said
    assert of.engine.attached_url == " and ".join([f"http://127.0.0.1:{port}/(not shown)"] * 2)


def test_an_address_of_several_is_wrong(tmp_path: Path) -> None:
    of = served(0, {"concurrency": 4, "num_requests": 4}, url=["http://127.0.0.1:9", "http://::1:9"])
    with pytest.raises(EngineError, match=r"^engine\.url\.1: expected http://HOST:PORT"):
        OpenAiEngine().run(make_job(tmp_path, of), Watcher())


def test_fewer_requests_than_shares(tmp_path: Path, processes: Callable[[int], None], serve: Serve) -> None:
    processes(4)
    load = {"concurrency": 8, "num_requests": 3, "warmup_requests": 1}
    result, _ = measured(tmp_path, load, serve(lambda _: GOOD), serve(lambda _: GOOD))
    assert sorted(record.id for record in result.records) == [0, 1, 2]


def test_time_is_up(tmp_path: Path, processes: Callable[[int], None]) -> None:
    processes(2)

    def answer(_: dict[str, Any]) -> Iterator[bytes | str]:
        yield "hang"

    with serving(answer) as port:
        asked = replace(job(tmp_path, {**CLOSED, "warmup_requests": 0}, port), run_timeout_s=1.0)
        with pytest.raises(EngineError, match=r"not all requests .* within 1 s"):
            OpenAiEngine().run(asked, Watcher())
    assert not descendants(os.getpid())


@pytest.mark.parametrize(
    ("load", "cpus", "servers", "expected"),
    [
        ({"concurrency": 640}, 16, 1, 1),
        ({"concurrency": 641}, 16, 1, 2),
        ({"concurrency": 8192}, 16, 1, 10),
        ({"concurrency": 8192}, 16, 8, 10),  # four servers for each
        ({"concurrency": 8192}, 24, 6, 12),
        ({"concurrency": 8192}, 24, 5, 10),  # 13 would need all five
        ({"concurrency": 8192}, 16, 7, 7),
        ({"concurrency": 8192}, 16, 100, 10),
        ({"concurrency": 8192}, 4, 1, 2),
        ({"concurrency": 8192}, 2, 8, 1),
        ({"concurrency": 8192}, 1, 1, 1),
        ({"concurrency": "all", "num_requests": 1900}, 16, 1, 3),
    ],
)
def test_processes_for_streams(load: dict[str, Any], cpus: int, servers: int, expected: int) -> None:
    """As the streams need, but two thirds of the CPUs, and not too many servers for each."""
    assert processes_for(Load(**{"num_requests": 10, **load}), None, 256, cpus, servers) == expected


@pytest.mark.parametrize(
    ("rate_req_s", "mean_output", "expected"),
    [(2000, 8, 1), (20_000, 8, 8), (5000, 8, 2), (500, 1000, 5), (1, 10, 1)],
)
def test_processes_for_a_schedule(rate_req_s: float, mean_output: float, expected: int) -> None:
    """The most requests in flight of an open loop say nothing."""
    times_s = [number / rate_req_s for number in range(1, 20_001)]
    load = Load(num_requests=20_000, concurrency=100_000)
    assert processes_for(load, times_s, mean_output, 64, 1) == expected


@pytest.mark.parametrize(
    ("concurrency", "servers", "expected"),
    [(1, 1, 1), (3, 1, 3), (100, 1, 8), (3, 3, 3), (5, 3, 3), (6, 3, 6)],
)
def test_every_share_can_send(concurrency: int, servers: int, expected: int) -> None:
    """An open loop may have a high rate, but few requests in flight."""
    times_s = [number / 20_000 for number in range(1, 20_001)]
    load = Load(num_requests=20_000, concurrency=concurrency)
    processes = processes_for(load, times_s, 8, 64, servers)
    assert processes == expected
    of = {share.of for some in shares(processes, servers) for share in some}
    assert max(of) <= concurrency


@pytest.mark.parametrize("servers", range(1, 6))
@pytest.mark.parametrize("processes", range(1, 10))
def test_shares(processes: int, servers: int) -> None:
    """Every request is sent once; each server and each process gets equally many shares."""
    divided = shares(processes, servers)
    assert len(divided) == processes
    together = [share for some in divided for share in some]
    of = together[0].of
    assert sorted(share.first for share in together) == list(range(of))
    assert {share.of for share in together} == {of}
    at = [sum(share.server == server for share in together) for server in range(servers)]
    assert at == [of // servers] * servers
    assert {len(some) for some in divided} == {of // processes}
    assert shares(1, 1) == [[Share(0, 0, 1)]]


def test_a_server_that_closes_idle_connections(
    tmp_path: Path, processes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers, but keeps no idle connection: nothing is sent."""
    processes(1)
    monkeypatch.setattr(Connection, "usable", property(lambda _: False, lambda *_: None), raising=False)
    with serving(lambda _: GOOD) as port, pytest.raises(EngineError) as error:
        measured(tmp_path, {"concurrency": 4, "num_requests": 40}, port)
    assert str(error.value) == (
        f"127.0.0.1:{port}: the server closed 4 of 4 connections before the load began, so it limits their "
        "number or their idle time; raise these limits (uvicorn: --timeout-keep-alive; nginx: "
        "worker_connections, keepalive_timeout), or lower load.concurrency"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_too_few_open_files(
    number: int, tmp_path: Path, processes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process has the limit for itself."""
    processes(number)
    monkeypatch.setattr("resource.getrlimit", lambda _: (200, 300))
    mine = 90 // number
    expected = (
        rf"^load\.concurrency: {mine} connections need {mine + 256} open files, but the limit is 300; "
        r"raise it \(ulimit -Hn \d+, or LimitNOFILE\), or lower load\.concurrency$"
    )
    seen = Seen()
    with serving(lambda _: GOOD, seen=seen) as port, pytest.raises(EngineError, match=expected):
        measured(tmp_path, {"concurrency": 90, "num_requests": 100}, port)
    assert not seen.bodies


def test_too_few_ports(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each server has the range for itself."""
    narrow = tmp_path / "range"
    narrow.write_text("100\t102\n")
    monkeypatch.setattr(ports, "RANGE", narrow)
    first, second = serve(lambda _: GOOD), serve(lambda _: GOOD)
    result, _ = measured(tmp_path, CLOSED, first, second)
    assert len(result.records) == 40
    (tmp_path / "engine").rename(tmp_path / "before")
    with pytest.raises(EngineError, match=rf"4 connections to 127\.0\.0\.1:{first} need as many local ports"):
        measured(tmp_path, {**CLOSED, "concurrency": 8}, first, second)
