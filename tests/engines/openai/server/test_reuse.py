"""A server that several measurements share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.requests import for_warm_up, prompt_start
from pytest_dsr1.engines.openai.server.reuse import ServerPool
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.errors import EngineError
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Request
from tests.helpers.openai_jobs import make_job, remarks, served, started
from tests.helpers.values import scenario
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import GOOD, Seen, serving

pytestmark = pytest.mark.usefixtures("client_unjudged")


class Bench:
    """Runs scenarios one after the other, each in a folder of its own, with one keeper."""

    def __init__(self, folder: Path) -> None:
        self.kept = ServerPool()
        self.folder = folder
        self.watcher = Watcher()

    def run(self, of: Scenario) -> EngineResult:
        self.watcher = Watcher()
        (self.folder / of.name).mkdir()
        return OpenAiEngine(self.kept).run(make_job(self.folder / of.name, of), self.watcher)

    def artifact(self, name: str, of: str = "first") -> str:
        return (self.folder / of / "engine" / name).read_text()

    def pid(self, of: str = "first") -> int:
        return int(self.artifact("pid", of))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.kept.end()


def test_server_stays_for_the_next_load_and_is_ended(bench: Bench) -> None:
    first = bench.run(started(load={"concurrency": 1}))
    assert first.facts.server_started is True
    pid = bench.pid()
    assert psutil.pid_exists(pid)
    second = bench.run(started("second", load={"concurrency": 4, "num_requests": 8}))
    assert second.facts.server_started is False
    assert second.facts.server_kept_from == "first"
    assert second.facts.other["url"] == first.facts.other["url"]
    log = str(bench.folder / "first" / "engine" / "server.log")
    assert first.facts.other["server_log"] == second.facts.other["server_log"] == log
    assert f"reusing the server of first, {first.facts.other['url']}" in bench.watcher.details
    assert not (bench.folder / "second" / "engine" / "pid").exists()
    assert len(bench.artifact("server.log").splitlines()) == 13, "one when it starts, and one a request"
    assert bench.artifact("server.log", "second").count("asked") == 8, "its own part alone"
    assert bench.artifact("server.sh", "second") == bench.artifact("server.sh")
    bench.kept.end()
    assert not psutil.pid_exists(pid)
    assert not bench.kept


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": ["--other"]},
        {"environment": {"CUDA_LAUNCH_BLOCKING": "1"}},
        {"hardware": {"gpu": "NVIDIA H200", "count": 1}},
    ],
    ids=["arguments", "environment", "GPUs"],
)
def test_another_server_takes_its_place(bench: Bench, changes: dict[str, Any]) -> None:
    bench.run(started())
    second = bench.run(started("second", **changes))
    assert second.facts.server_started is True
    assert remarks(second.warnings) == ()
    assert not psutil.pid_exists(bench.pid())
    assert psutil.pid_exists(bench.pid("second"))


def test_what_of_the_surroundings_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(started())
    again = started("second", served_model="named", silence_timeout_s=1.0)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
    assert bench.kept.fits(again)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert not bench.kept.fits(again)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert not bench.kept.fits(served(1)), "a server that is not ours"
    assert not bench.kept.fits(scenario()), "another engine"
    assert not bench.kept.fits(started("second", server="transformers", tp=2)), "one that cannot be started"


def test_a_file_that_the_command_names_counts_by_content(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept server read it when it started, so the facts of another run would not be true of it."""
    monkeypatch.chdir(tmp_path)
    options = Path("opts.yml")
    options.write_text("max_num_tokens: 1024\n")
    arguments = ["--config", "opts.yml"]
    bench.run(started(arguments=arguments))
    options.write_text("# the same\nmax_num_tokens: 1024\n")
    assert bench.kept.fits(started("second", arguments=arguments))
    options.write_text("max_num_tokens: 2048\n")
    assert not bench.kept.fits(started("second", arguments=arguments))
    assert bench.run(started("second", arguments=arguments)).facts.server_started is True
    options.unlink()
    assert not bench.kept.fits(started("third", arguments=arguments))


def test_server_that_died_is_noticed_and_replaced(bench: Bench) -> None:
    bench.run(started())
    server = psutil.Process(bench.pid())
    server.send_signal(signal.SIGKILL)
    second = bench.run(started("second"))
    assert second.facts.server_started is True
    (warning,) = remarks(second.warnings)
    log = bench.folder / "first" / "engine" / "server.log"
    assert warning == (
        "a new server was started because the old one cannot be used: first: the server was killed by "
        f"SIGKILL; its log: {log}"
    )
    assert psutil.pid_exists(bench.pid("second"))


def test_no_server_stays_after_a_failure(bench: Bench) -> None:
    bench.run(started())
    pid = bench.pid()
    failed = r"(?s)^second: all 4 requests so far failed, .*\nThe relevant lines of .*first/"
    with pytest.raises(EngineError, match=failed):
        bench.run(started("second", body={"fail": True}, load={"tolerated_failures": 3}))
    assert not psutil.pid_exists(pid)
    assert not bench.kept
    assert bench.artifact("server.log", "second").count("asked") == 4


def test_no_server_stays_after_a_request_failed(tmp_path: Path, bench: Bench) -> None:
    """Tolerated as the failure may be, the server may still be busy with it."""
    (tmp_path / "first").mkdir()
    job = make_job(tmp_path / "first", started(load={"tolerated_failures": 1}))
    lines = job.workload.path.read_text().splitlines()
    lines[0] = lines[0].replace('"output_tokens": 4', '"output_tokens": 5')
    job.workload.path.write_text("\n".join(lines) + "\n")
    result = OpenAiEngine(bench.kept).run(job, Watcher())
    assert [r.error is None for r in sorted(result.records, key=lambda r: r.id)] == [False, True, True, True]
    assert not bench.kept
    assert not psutil.pid_exists(bench.pid())


def test_no_server_stays_after_a_run_was_stopped(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    of = started(load={"concurrency": 1, "num_requests": 50})
    job = replace(make_job(tmp_path / "first", of), enough=lambda _: True)
    assert OpenAiEngine(bench.kept).run(job, Watcher()).stopped
    assert not bench.kept
    assert not psutil.pid_exists(bench.pid())


def test_a_server_that_runs_already_was_not_started(tmp_path: Path) -> None:
    with serving(lambda _: GOOD) as port:
        result = OpenAiEngine().run(make_job(tmp_path, served(port)), Watcher())
    assert result.facts.server_started is False


@pytest.mark.parametrize(
    ("server", "advice"),
    [
        ("vllm", "switch the cache off with --no-enable-prefix-caching in engine.arguments"),
        ("sglang", "switch the cache off with --disable-radix-cache in engine.arguments"),
        (
            "trtllm-serve",
            "with engine.llm_api.kv_cache_config.enable_block_reuse: false",
        ),
        ("other", "switch the cache off with the server's own option in engine.arguments"),
    ],
)
def test_repeated_prompts_are_warned_of(bench: Bench, server: str, advice: str) -> None:
    assert remarks(bench.run(started(server=server)).warnings) == ()
    (warning,) = remarks(bench.run(started("second", server=server, load={"num_requests": 6})).warnings)
    assert warning.startswith(
        "this server was left running from scenario first and had already read the start of 4 of these 6 "
        "prompts: with a prefix cache it answers them faster than new prompts; "
    )
    assert warning.endswith(advice)


@pytest.mark.parametrize(
    ("server", "option"), [("vllm", "--no-enable-prefix-caching"), ("sglang", "--disable-radix-cache")]
)
def test_no_warning_without_a_prefix_cache(bench: Bench, server: str, option: str) -> None:
    bench.run(started(server=server, arguments=[option]))
    assert remarks(bench.run(started("second", server=server, arguments=[option])).warnings) == ()


def test_a_new_server_has_read_nothing(bench: Bench) -> None:
    bench.run(started())
    bench.run(started("second", arguments=["--other"]))
    assert remarks(bench.run(started("third")).warnings) == ()


def test_warm_up_prompts_are_not_the_measured_ones(tmp_path: Path) -> None:
    seen = Seen()
    with serving(lambda _: GOOD, seen=seen) as port:
        job = make_job(tmp_path, served(port, {"warmup_requests": 2, "concurrency": 1}))
        OpenAiEngine().run(job, Watcher())
    prompts = [body["prompt"] for body in seen.bodies]
    assert prompts[:2] == [[6, 5, 4, 3, 2, 1, 0, 0], [6, 5, 4, 3, 2, 1, 0, 1]]
    assert prompts[2:] == [[i, *range(7)] for i in range(4)]


def test_text_warms_up_as_it_is() -> None:
    text = Request(None, "how many", 4)
    assert for_warm_up(text) is text


def test_prompt_starts() -> None:
    long = Request(list(range(100)), None, 4)
    assert prompt_start(long) == prompt_start(Request(list(range(16)), None, 9))
    assert prompt_start(long) != prompt_start(for_warm_up(long))
    assert prompt_start(Request(None, "a" * 64 + "b", 4)) == prompt_start(Request(None, "a" * 64 + "c", 4))
    assert prompt_start(Request(None, "ab", 4)) != prompt_start(Request(None, "ac", 4))


def test_an_engine_without_a_keeper_keeps_nothing(tmp_path: Path) -> None:
    job = make_job(tmp_path, started())
    result = OpenAiEngine().run(job, Watcher())
    assert result.facts.server_started is True
    assert not psutil.pid_exists(int((job.artifacts / "pid").read_text()))


def test_an_interruption_ends_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_INTERRUPTS", str(os.getpid()))
    bench.run(started())
    with pytest.raises(KeyboardInterrupt):
        bench.run(started("second", body={"interrupt": True}, load={"concurrency": 1}))
    assert not psutil.pid_exists(bench.pid())
    assert not bench.kept
