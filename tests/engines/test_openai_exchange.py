from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai_exchange import SPEAKS, Exchange
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
    assert len(it.spoke_s) == len(words)
    assert list(it.spoke_s) == sorted(it.spoke_s)
    assert (it.outcome().error, it.outcome().output_tokens) == (None, 4)


@given(st.text(), st.sampled_from(["content", "reasoning_content", "reasoning", "text"]), st.booleans())
def test_an_event_speaks_when_it_has_text(words: str, key: str, spaced: bool) -> None:
    data = json.loads(text(words, key)[5:])
    written = json.dumps(data, separators=(", ", ": ") if spaced else (",", ":")).encode()
    assert bool(SPEAKS(written)) == bool(words)


@given(st.text(max_size=20))
def test_what_a_model_writes_about_json_does_not_speak_for_it(words: str) -> None:
    quoted = '"content": "x", "token_ids": [1], ' + words
    assert not SPEAKS(
        event({"choices": [{"delta": {"role": quoted, "content": None}}], "prompt_token_ids": [1]})
    )
