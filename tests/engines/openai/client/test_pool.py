"""Where public clients err: against a server that notes when it wrote what.

The server stands still for `STILL_S` where a wrong client's clock would start or stop too early or too late,
so that what is compared are times of the server's that lie far apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.records import RequestRecord
from tests.helpers.metrics import from_records
from tests.helpers.openai_jobs import make_job, served
from tests.helpers.watcher import Watcher
from tests.standins.openai_server import DONE, FINISH, STREAM_HEAD, chunk, event, serving, text, usage

pytestmark = pytest.mark.usefixtures("client_unjudged")

STILL_S = 1.0


def delta(**fields: Any) -> bytes:
    """An event of a chat."""
    return event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields}]})


STILL = b""
"""Instead of an event: nothing is written for a while."""
ROLE = delta(role="assistant", content="")
ROLE_AND_NULLS = delta(role="assistant", content=None, reasoning_content=None, tool_calls=[])
THOUGHT = delta(reasoning_content=" hm")
THOUGHT_OF_VLLM = delta(reasoning=" hm")
SAID = delta(content=" yes")
END = event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "length"}]})


@dataclass
class Truth:
    """Writes the same events to each request, and notes before each when that was, request by request."""

    events: list[bytes]
    wrote_s: dict[str, list[float]] = field(default_factory=dict)

    def answer(self, body: dict[str, Any]) -> Iterator[bytes]:
        prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        wrote_s = self.wrote_s.setdefault(str(prompt).split()[0].strip("[,"), [])
        yield STREAM_HEAD
        for one in self.events:
            if one == STILL:
                time.sleep(STILL_S)
                continue
            wrote_s.append(time.monotonic())
            yield chunk(one)
        yield chunk(b"")


def measured(folder: Path, truth: Truth, tokens: int, **engine: Any) -> tuple[EngineResult, float]:
    """Four requests at once with this number of tokens each, and a time after all."""
    chat = engine.get("endpoint") == "chat"
    with serving(truth.answer) as port:
        of = served(port, {"concurrency": 4, "tolerated_failures": 0}, **engine)
        result = OpenAiEngine().run(make_job(folder, of, prompts=chat, output_tokens=tokens), Watcher())
    assert [(r.error, r.output_tokens) for r in result.records] == [(None, tokens)] * 4
    return result, time.monotonic()


def tpot_ms(record: RequestRecord) -> float:
    """TensorRT-LLM's: the first token is not divided by."""
    assert record.first_token_s is not None
    return (record.last_token_s - record.first_token_s) / (record.output_tokens - 1) * 1e3


STARTS = {
    "thoughts count": ([THOUGHT, STILL, SAID], 0),
    "thoughts under vLLM's name count": ([THOUGHT_OF_VLLM, STILL, SAID], 0),
    "a role that comes at once does not count": ([ROLE, STILL, THOUGHT, STILL, SAID], 1),
    "nor one with empty fields": ([ROLE_AND_NULLS, STILL, SAID], 1),
    "nor empty thoughts": ([ROLE, delta(reasoning_content=""), STILL, THOUGHT, STILL, SAID], 2),
    "nor a comment": ([b": ping\n\n", STILL, SAID], 1),
    "a role with the first token counts": ([delta(role="assistant", content=" yes"), STILL, SAID], 0),
}


@pytest.mark.parametrize(("events", "first"), STARTS.values(), ids=list(STARTS))
def test_when_the_first_token_came(events: list[bytes], first: int, tmp_path: Path) -> None:
    truth = Truth([*events, END, usage(4), DONE])
    result, after_s = measured(tmp_path, truth, 4, endpoint="chat")
    for record in result.records:
        wrote_s = truth.wrote_s[str(record.id)]
        assert record.first_token_s is not None
        assert wrote_s[first] <= record.first_token_s
        next_still_s = next((s for s in wrote_s[first + 1 :] if s - wrote_s[first] >= STILL_S), after_s)
        assert record.first_token_s < next_still_s
    metrics = from_records(result.records, 0)
    assert metrics["average_ttft"] == pytest.approx(
        fmean(((r.first_token_s or 0) - r.submitted_s) * 1e3 for r in result.records)
    )


def test_finish_and_usage_do_not_stop_the_clock(tmp_path: Path) -> None:
    """The last token's time is that of the last event with text, not of what a server says much later."""
    truth = Truth([THOUGHT, SAID, STILL, END, STILL, usage(4), DONE])
    result, _ = measured(tmp_path, truth, 4, endpoint="chat")
    for record in result.records:
        _, said_s, end_s, *_ = truth.wrote_s[str(record.id)]
        assert said_s <= record.last_token_s < end_s


def test_time_from_the_first_thought_to_the_last_word(tmp_path: Path) -> None:
    """With `content` alone the clock of a client would start after the thoughts: 2.5 ms for a true 10.0."""
    truth = Truth([THOUGHT] * 6 + [STILL] + [SAID] * 2 + [END, usage(8), DONE])
    result, _ = measured(tmp_path, truth, 8, endpoint="chat")
    for record in result.records:
        wrote_s = truth.wrote_s[str(record.id)]
        assert record.events == 8
        assert record.first_token_s is not None
        assert wrote_s[0] <= record.first_token_s < wrote_s[6]
        assert wrote_s[7] <= record.last_token_s
    average_ms = from_records(result.records, 0)["average_tpot"]
    assert average_ms == pytest.approx(fmean(map(tpot_ms, result.records)))


def test_several_tokens_in_an_event(tmp_path: Path) -> None:
    """As with multi-token prediction: nine tokens in three events."""
    three = text(" a b c")
    truth = Truth([three, STILL, three, three, FINISH, usage(9), DONE])
    result, after_s = measured(tmp_path, truth, 9)
    for record in result.records:
        wrote_s = truth.wrote_s[str(record.id)]
        assert record.events == 3
        assert record.first_token_s is not None
        assert wrote_s[0] <= record.first_token_s < wrote_s[1]
        assert wrote_s[2] <= record.last_token_s
        assert (wrote_s[2] - wrote_s[1]) / 8 * 1e3 < tpot_ms(record) < (after_s - wrote_s[0]) / 8 * 1e3
    metrics = from_records(result.records, 0)
    assert metrics["average_output_length"] == 9
    assert metrics["average_tpot"] == pytest.approx(fmean(map(tpot_ms, result.records)))
    assert metrics["per_user_output_speed"] == pytest.approx(
        fmean(1e3 / tpot_ms(record) for record in result.records)
    )
    assert result.report["average_inter_event_gap"] == pytest.approx(
        fmean((r.last_token_s - (r.first_token_s or 0)) / 2 * 1e3 for r in result.records)
    )
    assert sum(value for _, value in result.series) <= 4 * 9


def test_tokens_are_not_counted_by_events(tmp_path: Path) -> None:
    """vLLM 0.33 at 64 streams of 512 tokens: 32,768 tokens came in 22,329 events."""

    def answer(body: dict[str, Any]) -> list[bytes | str]:
        events = 348 if body["prompt"][0] < 7 else 349
        words = [text(" a b") if i < 512 - events else text(" a") for i in range(events)]
        return [STREAM_HEAD + b"".join(map(chunk, [*words, FINISH, usage(512), DONE])) + chunk(b"")]

    load = {"concurrency": 64, "num_requests": 64, "tolerated_failures": 0}
    with serving(answer) as port:
        job = make_job(tmp_path, served(port, load), output_tokens=512)
        result = OpenAiEngine().run(job, Watcher())
    assert [r.error for r in result.records] == [None] * 64
    assert sum(r.output_tokens for r in result.records) == 32_768
    assert sum(r.events or 0 for r in result.records) == 22_329
    metrics = from_records(result.records, 0)
    total_s = metrics["total_latency"] / 1e3
    assert metrics["total_output_throughput"] == pytest.approx(32_768 / total_s)
    spread = [tpot_ms(r) for r in result.records if r.last_token_s > (r.first_token_s or 0)]
    assert metrics.get("average_tpot", 0.0) == pytest.approx(fmean(spread) if spread else 0.0)
