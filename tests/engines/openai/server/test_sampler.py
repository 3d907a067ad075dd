"""A server's metrics during a measurement: what is kept, and that no answer can harm the measurement."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.endpoint import Site
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.server import sampler
from pytest_dsr1.engines.openai.server.sampler import FILE, SeveralMetrics
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.metrics.catalogue import combine
from pytest_dsr1.scenario.schema.scenario import Target
from pytest_dsr1.verdict.targets import judge
from pytest_dsr1.verdict.verdict import Status
from tests.helpers import values
from tests.helpers.openai_jobs import make_job, remarks, served
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import GOOD, Answer, Seen, plain, serving
from tests.standins.server_metrics import Truth

pytestmark = pytest.mark.usefixtures("client_unjudged")

Page = Callable[[], Answer]
SHIPPED_S = sampler._PATIENCE_S + sampler._CLOSE_S


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a busy machine is busy: these are limits, and nothing takes longer for them."""
    for limit in ("_PATIENCE_S", "_SETTLE_S", "_CLOSE_S"):
        monkeypatch.setattr(sampler, limit, 60.0)
    # Longer than these limits, so that no thread ends by its timeout instead of being woken.
    monkeypatch.setattr(sampler, "_TIMEOUT_S", 600.0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "dsr1-server-metrics"]


def measure(folder: Path, truth: Truth, pages: dict[str, Page], **options: Any) -> EngineResult:
    """Four requests against a server that has these pages."""
    load = options.pop("load", None)
    with serving(truth.answer, pages=pages) as port:
        job = make_job(folder, served(port, load, **options))
        result = OpenAiEngine().run(job, Watcher())
    assert [record.error for record in result.records] == [None] * 4, "nothing of the measurement is lost"
    return result


def facts(result: EngineResult) -> dict[str, Any]:
    return result.facts.server_metrics.saved()


def not_found() -> Answer:
    return plain("404 Not Found", b'{"detail": "Not Found"}')


def test_last_samples_of_several_servers(tmp_path: Path) -> None:
    """The first server's last sample comes after the second one's: both are of the end of the measurement."""
    ending, second = threading.Event(), threading.Event()
    counted = 0

    def page() -> Answer:
        return plain(
            "200 OK",
            b"# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total %d\n" % counted,
            kind="text/plain",
        )

    def slow() -> Answer:
        assert not ending.is_set() or second.wait(60)
        return page()

    def fast() -> Answer:
        if ending.is_set():
            second.set()
        return page()

    with (
        serving(lambda _: GOOD, pages={"/metrics": slow}) as one,
        serving(lambda _: GOOD, pages={"/metrics": fast}) as other,
    ):
        sites = [Site("127.0.0.1", port, "", None, None) for port in (one, other)]
        metrics = SeveralMetrics.of(sites, "vllm", tmp_path)
        with metrics:
            counted = 100
            ending.set()
    assert metrics.summary(200).server_metrics.complete
    assert not metrics.summary(200).warnings
    (warning,) = metrics.summary(100).warnings
    assert warning.startswith(
        "the 2 servers counted 200 generated tokens during the measurement, but their answers contain 100 "
    )
    assert ": either engine.url names a server twice, the 2 servers also had other clients, which" in warning


KINDS: dict[str, Callable[[Truth], tuple[str, dict[str, Page]]]] = {
    "vllm": lambda truth: ("vllm", {"/metrics": truth.vllm}),
    "sglang": lambda truth: ("sglang", {"/metrics": truth.sglang}),
    "other": lambda truth: ("other", {"/metrics": truth.vllm}),
    "trtllm-serve": lambda truth: (
        "trtllm-serve",
        {"/prometheus/metrics": truth.trtllm, "/metrics": truth.trtllm_iterations},
    ),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_acceptance_length_and_summary(
    kind: Callable[[Truth], tuple[str, dict[str, Page]]], tmp_path: Path
) -> None:
    truth = Truth()
    server, pages = kind(truth)
    result = measure(tmp_path, truth, pages, server=server, load={"warmup_requests": 2})
    assert result.report["acceptance_length"] == Truth.ACCEPTANCE_LENGTH
    reported = facts(result)
    assert reported["generated_tokens"] == 16, "the warm-up is not counted"
    assert (reported["path"], reported["whole"], reported["missed"]) == (next(iter(pages)), True, 0)
    assert (reported["running_requests_mean"], reported["waiting_requests_max"]) == (
        Truth.RUNNING,
        Truth.WAITING,
    )
    assert reported["kv_cache_used_share_mean"] == Truth.USED
    assert reported["prefix_cache_hit_share"] == 0.0
    assert reported["acceptance_length"] == Truth.ACCEPTANCE_LENGTH
    assert not result.facts.not_measured
    assert remarks(result.warnings) == ()
    lines = [json.loads(line) for line in (tmp_path / "engine" / FILE).read_text().splitlines()]
    for_options = server in {"vllm", "trtllm-serve"}  # once more, at the end
    assert len(lines) == reported["readings"] == truth.asked - for_options
    times = [line["time_s"] for line in lines]
    assert times == sorted(times)
    assert times[0] < result.measured_from_s < result.measured_to_s < times[-1], "one clock with the records"


def test_iterations_of_trtllm_serve_that_has_no_other_metrics(tmp_path: Path) -> None:
    truth = Truth()
    pages = {"/prometheus/metrics": not_found, "/metrics": truth.trtllm_iterations}
    result = measure(tmp_path, truth, pages, server="trtllm-serve", load={"warmup_requests": 2})
    reported = facts(result)
    assert result.report["acceptance_length"] == Truth.ACCEPTANCE_LENGTH
    assert (reported["path"], reported["running_requests_mean"]) == ("/metrics", Truth.RUNNING)
    assert "generated_tokens" not in reported, "iterations do not report them"


def test_series_while_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_INTERVAL_S", 0.001)
    truth, asked_often = Truth(), threading.Event()

    def page() -> Answer:
        if truth.asked == 10:
            asked_often.set()
        return truth.vllm()

    with serving(truth.answer, pages={"/metrics": page}) as port:
        metrics = SeveralMetrics.of([Site("127.0.0.1", port, "", None, None)], "vllm", tmp_path)
        with metrics:
            assert asked_often.wait(60)
            written = (tmp_path / FILE).read_text().splitlines()
    assert len(written) >= 9, "written as the run goes"
    reported = metrics.summary(None).server_metrics
    assert reported.samples == truth.asked == len((tmp_path / FILE).read_text().splitlines())


def test_one_connection_is_kept(tmp_path: Path) -> None:
    seen, truth = Seen(), Truth()
    with (
        serving(truth.answer, pages={"/metrics": truth.vllm}, seen=seen) as port,
        SeveralMetrics.of([Site("127.0.0.1", port, "", None, "secret")], "vllm", tmp_path),
    ):
        pass
    assert truth.asked >= 4, "two before, to see that the counters stand still, and two after"
    assert seen.connections == 1
    assert all(b"Authorization: Bearer secret" in head for head in seen.heads)


def test_count_that_differs_is_a_warning(tmp_path: Path) -> None:
    truth = Truth(miscounted=1)
    result = measure(tmp_path, truth, {"/metrics": truth.vllm})
    assert [
        w
        for w in remarks(result.warnings)
        if "counted 20 generated tokens during the measurement, but its answers contain 16 (+25.0%)" in w
        and "either the server also had other clients, which invalidates this measurement, or one of the "
        "server's counts is wrong; stop other use of the server and measure again"
        in w
    ]


def test_count_is_not_compared_where_requests_failed(tmp_path: Path) -> None:
    truth = Truth(miscounted=1)

    def answer(body: dict[str, Any]) -> Answer:
        good = truth.answer(body)
        return plain("500 No", b"boom") if body["prompt"][0] == 2 else good

    with serving(answer, pages={"/metrics": truth.vllm}) as port:
        result = OpenAiEngine().run(make_job(tmp_path, served(port)), Watcher())
    assert [w for w in remarks(result.warnings) if "generated tokens" in w] == []
    assert facts(result)["generated_tokens"] == 20


def test_late_counter_is_waited_for(tmp_path: Path) -> None:
    """trtllm-serve counts a request after the last byte of its answer."""
    truth, late = Truth(), [0, 0, 8, 12, 16]

    def page() -> Answer:
        tokens = late.pop(0) if len(late) > 1 else late[0]
        return plain("200 OK", b"# TYPE x y\ntrtllm_generation_tokens_total{} %d\n" % tokens)

    result = measure(tmp_path, truth, {"/prometheus/metrics": page}, server="trtllm-serve")
    assert facts(result)["generated_tokens"] == 16
    assert remarks(result.warnings) == ()


def test_prefix_cache_hits_are_a_warning(tmp_path: Path) -> None:
    truth = Truth(cached=2)
    result = measure(tmp_path, truth, {"/metrics": truth.vllm})
    assert facts(result)["prefix_cache_hit_share"] == 0.25
    (warning,) = remarks(result.warnings)
    assert "25% of the prompts came from the server's prefix cache and were not computed" in warning
    assert "vLLM: --no-enable-prefix-caching" in warning


def broken_line() -> Answer:
    return plain("200 OK", b"# TYPE x gauge\nvllm:num_requests_running{ 3\n")


NONE: dict[str, tuple[Page, str]] = {
    "404": (not_found, "GET /metrics: HTTP 404"),
    "401": (lambda: plain("401 Unauthorized", b"no"), "GET /metrics: HTTP 401"),
    "HTML": (lambda: plain("200 OK", b"<html>hello</html>"), "not a page of metrics: '<html>hello</html>'"),
    "another object": (lambda: plain("200 OK", b'{"data": []}'), "not a page of metrics: '{\"data\": []}'"),
    "a list of other things": (lambda: plain("200 OK", b'["x"]'), "expected the statistics of an iteration"),
    "half a list": (lambda: plain("200 OK", b'[{"iter": '), "Expecting value"),
    "nested too deep": (lambda: plain("200 OK", b'[{"a":' + b"[" * 200_000), "recursion"),
    "broken line": (broken_line, "not a sample in Prometheus' text format"),
    "binary": (lambda: plain("200 OK", b"\xff\xfe\x00"), "not a page of metrics"),
    "redirect": (lambda: plain("307 Moved", b"", "Location: /elsewhere"), "HTTP 307"),
    "metrics of something else": (lambda: plain("200 OK", b"# TYPE x gauge\nx 1\n"), "none of the known"),
    "no iterations": (lambda: plain("200 OK", b"[]"), "none of the known metrics"),
    "no HTTP": (lambda: [b"SSH-2.0-OpenSSH\r\n", "close"], "SSH-2.0"),
    "a body that is cut": (lambda: [plain("200 OK", b"# TYPE a b\n")[:-3], "close"], "IncompleteRead"),
    "closes": (lambda: ["close"], "closed connection without response"),
    "hangs": (lambda: ["hang"], "no answer in time"),
    "hangs in its head": (lambda: [b"HTTP/1.1 200 OK\r\nContent-", "hang"], "no answer in time"),
    "hangs in its body": (lambda: [plain("200 OK", b"# TYPE a b\n" * 9)[:-40], "hang"], "no answer in time"),
}


@pytest.mark.parametrize(("page", "why"), NONE.values(), ids=list(NONE))
def test_no_metrics_there_is_a_fact_and_no_warning(
    page: Page, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SHIPPED_S < 1.0, "no measurement ends a second late"
    if why == "no answer in time":
        monkeypatch.setattr(sampler, "_PATIENCE_S", 0.1)
    result = measure(tmp_path, Truth(), {"/metrics": page})
    assert why in facts(result)["none"]
    assert remarks(result.warnings) == ()
    assert "acceptance_length" not in result.report
    assert not (tmp_path / "engine" / FILE).exists()


def test_server_that_hangs_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth(miscounted=1)

    def page() -> Answer:
        return ["hang"] if truth.requests else truth.vllm()

    def answer(body: dict[str, Any]) -> Answer:
        monkeypatch.setattr(sampler, "_PATIENCE_S", 0.1)  # the sample before the measurement is there
        return truth.answer(body)

    with serving(answer, pages={"/metrics": page}) as port:
        result = OpenAiEngine().run(make_job(tmp_path, served(port)), Watcher())
    assert [record.error for record in result.records] == [None] * 4, "nothing of the measurement is lost"
    assert facts(result)["whole"] is False
    assert remarks(result.warnings) == (), "what was not seen to the end is not compared"


def test_answer_that_fails_once_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_INTERVAL_S", 60.0)  # no sample but those before and after
    truth = Truth()

    def page() -> Answer:
        return truth.vllm() if not truth.requests or truth.asked > 3 else bad()

    def bad() -> Answer:
        truth.asked += 1
        return plain("503 Busy", b"")

    with serving(truth.answer, pages={"/metrics": page}) as port:
        metrics = SeveralMetrics.of([Site("127.0.0.1", port, "", None, None)], "vllm", tmp_path)
        with metrics:
            truth.answer({})
    reported = metrics.summary(4).server_metrics
    assert reported.missed_samples == 1


def test_disk_that_is_full_costs_the_file_only(tmp_path: Path) -> None:
    truth = Truth()
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / FILE).mkdir()
    with serving(truth.answer, pages={"/metrics": truth.vllm}) as port:
        metrics = SeveralMetrics.of([Site("127.0.0.1", port, "", None, None)], "vllm", tmp_path / "engine")
        with metrics:
            truth.answer({})
    assert metrics.summary(4).report == {"acceptance_length": Truth.ACCEPTANCE_LENGTH}


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (not_found, r"the server reports no metrics \(GET /metrics: HTTP 404\); switch them on"),
        (
            lambda: plain("200 OK", b"# TYPE x y\nvllm:num_requests_running 1\n"),
            r"the server's metrics \(/metrics\) report no drafts, so it seems not to use speculative",
        ),
    ],
)
def test_target_that_the_server_does_not_tell(page: Page, why: str, tmp_path: Path) -> None:
    with serving(lambda _: GOOD, pages={"/metrics": page}) as port:
        of = served(port)
        result = OpenAiEngine().run(make_job(tmp_path, of), Watcher())
    metrics = combine(result.report, {})
    measurement = values.measurement(scenario=of, result=result, metrics=metrics)
    verdict = judge(Target(metric="acceptance_length", value=2.0), measurement, values.NOISE)
    assert verdict.status is Status.INVALID
    assert re.search(f"acceptance length was not measured by engine openai: {why}", verdict.message)
