from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.client.exchange import HAS_TEXT, Answer, Exchange
from tests.standins.openai_server import DONE, FINISH, event, text, usage


def exchange(wanted: int = 4) -> Exchange:
    return Exchange(id=0, payload=b"", wanted=wanted, exact=True, streaming=True, input_tokens=8)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.lists(st.integers(1, 400), max_size=12))
def test_stream_cut_anywhere_is_the_same(words: list[str], cuts: list[int]) -> None:
    data = b"".join([text("", "content"), *(text(w, "content") for w in words), FINISH, usage(4), DONE])
    places = [0, *sorted({c for c in cuts if c < len(data)}), len(data)]
    it = exchange()
    for number, (begin, end) in enumerate(pairwise(places)):
        it.piece(data[begin:end], float(number))
    assert len(it.event_times_s) == len(words)
    assert list(it.event_times_s) == sorted(it.event_times_s)
    assert (it.answer().error, it.answer().output_tokens) == (None, 4)


@given(st.text(), st.sampled_from(["content", "reasoning_content", "reasoning", "text"]), st.booleans())
def test_an_event_speaks_when_it_has_text(words: str, key: str, spaced: bool) -> None:
    data = json.loads(text(words, key)[5:])
    written = json.dumps(data, separators=(", ", ": ") if spaced else (",", ":")).encode()
    assert bool(HAS_TEXT(written)) == bool(words)


@given(st.text(max_size=20))
def test_what_a_model_writes_about_json_does_not_speak_for_it(words: str) -> None:
    quoted = '"content": "x", "token_ids": [1], ' + words
    assert not HAS_TEXT(
        event({"choices": [{"delta": {"role": quoted, "content": None}}], "prompt_token_ids": [1]})
    )


def whole(*events: bytes, exact: bool = True) -> Exchange:
    it = exchange()
    it.exact = exact
    for event_ in events:
        it.event(event_, 1.0)
    return it


def counted(tokens: int, words: str = " a", **changes: Any) -> bytes:
    """An event with the usage so far, as `continuous_usage_stats` has it."""
    choice = {"index": 0, "text": words, "finish_reason": None, **changes}
    return event({"choices": [choice], "usage": {"prompt_tokens": 8, "completion_tokens": tokens}})


def test_the_greatest_usage_counts() -> None:
    """Of four tokens the last came without text of its own, and a finish of its own."""
    events = [counted(0, ""), counted(1), counted(2), counted(3)]
    end = counted(4, "", finish_reason="length")
    assert whole(*events, end, DONE).answer() == Answer(8, 4, None, "length")
    assert whole(*events, usage(4), DONE).answer() == Answer(8, 4, None, None)
    assert whole(usage(4), *events).answer().output_tokens == 4, "in whatever order"
    assert whole(counted(0, ""), FINISH).answer().error == "the server's answer has no tokens"


def test_usage_so_far_is_no_end() -> None:
    """Where any length will do, a stream that was cut must not pass for a short answer."""
    cut = "the stream ended too early: no finish reason, and no `usage` for the whole answer"
    assert whole(counted(1), counted(2), exact=False).answer().error == cut
    ids = event({"choices": [{"text": " a", "token_ids": [5, 6]}]})
    assert whole(ids, exact=False).answer().error == cut
    assert whole(ids, FINISH, exact=False).answer() == Answer(8, 2, None, "length")
    assert whole(counted(2), usage(2), exact=False).answer().error is None


ERRORS = {
    "an error next to the text": event({"error": {"message": "gone wrong"}, "choices": [{"text": " a"}]}),
    "OpenAI's other form": event({"object": "error", "message": "gone wrong", "text": "a"}),
    "a named event": b"event: error\ndata: gone wrong\n\n",
    "a named event with a text": b'event: error\ndata: {"message": "gone wrong", "text": "a"}\n\n',
    "a named event without a space": b'event:error\r\ndata: {"detail": "gone wrong", "text": "a"}\r\n\r\n',
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=list(ERRORS))
@pytest.mark.parametrize("before", range(5))
def test_an_error_fails_the_request_wherever_it_comes(before: int, error: bytes) -> None:
    events = [text(" a"), text(" b"), text(" c"), text(" d"), FINISH, usage(4), DONE]
    it = whole(*events[:before], error, *events[before:])
    assert "gone wrong" in (it.answer().error or "")


def test_no_error_is_none() -> None:
    """Neither null, nor what a model says about errors."""
    null = event({"error": None, "choices": [{"text": " a"}]})
    said = text('"error": {"message": "x"}, error')
    assert whole(null, null, said, said, FINISH, usage(4), DONE).answer() == Answer(8, 4, None, "length")


def test_ids_that_are_null_are_not_offered() -> None:
    """vLLM and TensorRT-LLM write `"token_ids": null` into each event where they were not asked for."""
    null = event({"choices": [{"text": " a", "prompt_token_ids": None, "token_ids": None}]})
    assert not whole(null).offers_ids
    for ids in ([], [5], [5, 6]):
        it = whole(event({"choices": [{"text": " a", "token_ids": ids}]}))
        assert it.offers_ids
        assert it.ids == len(ids)


def test_an_error_in_the_stream_that_repeats_the_key_does_not_make_it_known() -> None:
    for one in (b'data: {"error": {"message": "no key-planted"}}\n\n', b"data: key-planted\n\n"):
        made = exchange()
        made.secret = "key-planted"
        made.event(one, 1.0)
        error = str(made.answer().error)
        assert "(not shown)" in error
        assert "planted" not in error
        assert "planted" not in repr(replace(made, payload=b"", other_events=[]))
