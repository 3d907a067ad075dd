"""The metrics that servers report, and the figures made from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.server.metrics import IterationStats, ServerSample, Window, read_text
from tests.standins.openai_server import Answer
from tests.standins.server_metrics import Truth, page


def body(answer: Answer) -> bytes:
    assert isinstance(answer, bytes)
    return answer.partition(b"\r\n\r\n")[2]


PAGES: dict[str, Callable[[Truth], Answer]] = {
    "vllm": Truth.vllm,
    "sglang": Truth.sglang,
    "trtllm-serve": Truth.trtllm,
}


@pytest.mark.parametrize("reported", PAGES.values(), ids=list(PAGES))
def test_page_of_each_server(reported: Callable[[Truth], Answer]) -> None:
    truth = Truth(cached=2)
    for _ in range(3):
        truth.answer({})
    sample = read_text(body(reported(truth)), 7.0)
    assert sample is not None
    assert (sample.time_s, sample.running_requests, sample.waiting_requests) == (7.0, 2, 5)
    assert sample.kv_cache_used_share == pytest.approx(0.25), "the mean of two engines"
    assert (sample.generated_tokens, sample.drafts) == (12, 6)
    assert (sample.prefix_cache_hit, sample.prefix_cache_queried) == (6, 24)


def test_preemptions_where_they_are_told() -> None:
    truth = Truth(requests=3)
    sample = read_text(body(truth.vllm()), 7.0)
    assert sample is not None
    assert sample.preemptions == 3


def test_page_of_another_program_tells_nothing() -> None:
    assert read_text(page(("process_cpu_seconds_total", "counter", {}, 7)), 1.0) is None
    assert read_text(b"", 1.0) is None
    assert read_text(b"vllm:num_requests_running NaN\n", 1.0) is None


def test_drafts_of_unknown_length_are_not_counted() -> None:
    families = (("trtllm_spec_decode_num_draft_tokens_total", "counter", {"x": "y"}, 30.0),)
    config = ("trtllm_speculative_config_info", "gauge", {"spec_num_tokens": "None"}, 1.0)
    for of in (families, (*families, config)):
        sample = read_text(page(*of), 1.0)
        assert sample is not None
        assert sample.drafts is None


def test_iterations_before_the_measurement_are_not_counted() -> None:
    truth, stats = Truth(cached=2), IterationStats()
    truth.answer({})
    first = stats.read(body(truth.trtllm_iterations()), 1.0)
    truth.answer({})
    truth.answer({})
    second = stats.read(body(truth.trtllm_iterations()), 2.0)
    assert first is not None
    assert second is not None
    assert (first.drafts, first.accepted_draft_tokens) == (0, 0)
    assert (second.drafts, second.accepted_draft_tokens) == (4, 2)
    assert (second.running_requests, second.waiting_requests, second.kv_cache_used_share) == (2, 5, 0.25)
    assert (second.prefix_cache_hit, second.prefix_cache_queried) == (6, 24)
    assert stats.read(b" [ ] ", 3.0) is None


@pytest.mark.parametrize(
    "garbage",
    [b"[1]", b'[{"kvCacheStats": 3}]', b'[{"iter": 1', b"[{]", b"[\xff]", b'[{"specDecodingStats": [1]}]'],
)
def test_iterations_that_are_none(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"statistics|Expecting|decode"):
        IterationStats().read(garbage, 1.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kvCacheStats", "specDecodingStats", "usedNumBlocks"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=3))
def test_any_list_is_read_or_refused_in_words(items: list[Any]) -> None:
    try:
        sample = IterationStats().read(json.dumps(items).encode(), 1.0)
    except ValueError:
        return
    assert (sample is None) == (not items)


def window(*samples: ServerSample, from_s: float = 1.0, to_s: float = 3.0) -> Window:
    return Window.of(samples, from_s, to_s)


def test_window_begins_with_the_last_reading_before_and_is_whole() -> None:
    samples = [ServerSample(float(i), running_requests=float(i), generated_tokens=10.0 * i) for i in range(5)]
    of = window(*samples, from_s=1.5)
    assert of.whole
    assert of.grown("generated_tokens") == 30.0, "from 1 s to 4 s"
    assert of.values("running_requests") == [2.0, 3.0, 4.0]
    assert of.figures() == {
        "running_requests_mean": 3.0,
        "running_requests_max": 4.0,
        "generated_tokens": 30.0,
    }


def test_window_that_is_not_whole() -> None:
    assert not window(ServerSample(2.0), ServerSample(4.0)).whole, "none before"
    assert not window(ServerSample(0.5), ServerSample(2.0)).whole, "none after"
    only = window(ServerSample(2.0, running_requests=3.0))
    assert only.values("running_requests") == [3.0]


def test_counter_that_was_missing_began_at_nothing() -> None:
    of = window(ServerSample(0.0), ServerSample(4.0, prefix_cache_queried=80.0, preemptions=2.0))
    assert of.grown("preemptions") == 2.0
    assert of.prefix_cache_hit_share() == 0.0


def test_counter_of_a_server_that_was_started_again_tells_nothing() -> None:
    of = window(ServerSample(0.0, generated_tokens=50.0), ServerSample(4.0, generated_tokens=3.0))
    assert of.grown("generated_tokens") is None


def test_acceptance_length_by_each_way() -> None:
    counted = {"drafts": 10.0, "accepted_draft_tokens": 15.0}
    of_tokens = {"drafts": 10.0, "generated_tokens": 29.0, "finished_requests": 4.0}
    assert window(ServerSample(0.0), ServerSample(4.0, **counted)).acceptance_length() == 2.5
    assert window(ServerSample(0.0), ServerSample(4.0, **of_tokens)).acceptance_length() == 2.5
    averaged = [
        ServerSample(float(i), acceptance_length=reported) for i, reported in enumerate((9.0, 0.0, 2.0, 3.0))
    ]
    assert window(*averaged, from_s=0.0).acceptance_length() == 2.5, (
        "0 does not count, and the first is older"
    )
    assert (
        window(
            ServerSample(0.0), ServerSample(4.0, drafts=0.0, accepted_draft_tokens=0.0)
        ).acceptance_length()
        is None
    )


def test_several_servers_as_one() -> None:
    """Requests and counters are sums; the fullest cache counts; what one does not report is unknown."""
    first = [
        ServerSample(1.0, 2, 0, 0.5, 2.0, generated_tokens=10, drafts=1),
        ServerSample(2.0, 4, 1, 0.7, 2.0, generated_tokens=20, drafts=2),
        ServerSample(3.0, 6, 2, 0.6, 2.2, generated_tokens=60, drafts=5),
    ]
    second = [
        ServerSample(1.1, 1, 0, 0.9, 3.0, generated_tokens=5),
        ServerSample(3.1, 3, 0, 0.2, 3.0, generated_tokens=25),
    ]
    window = Window.together([Window(first, True), Window(second, True)])
    assert list(window.samples) == [
        ServerSample(1.1, 3, 0, 0.9, 2.5, generated_tokens=15),
        ServerSample(3.1, 9, 2, 0.6, 2.6, generated_tokens=85),
    ]
    assert window.whole
    assert window.grown("generated_tokens") == 70
    assert not Window.together([Window(first, True), Window(second, False)]).whole
    one = Window(first, False)
    assert Window.together([one]) is one
