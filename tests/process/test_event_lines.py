from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.process.event_lines import EventSplitter, event_lines

OTHERS = st.lists(
    st.sampled_from([b"chat\n", b"no end", b"10%\r", b"\x1b[33m", b"\xff", b"{}\n"]), max_size=3
)
LONG = json.dumps({"text": "ü" * 1000})


def data_of(text: str) -> bytes:
    return b"".join(event_lines(text))


def test_a_line_is_short_enough_for_slurm_to_pass_on_whole() -> None:
    assert data_of("{}") == b"\x1e{}\n"
    lines = list(event_lines(LONG))
    assert len(lines) == 7
    assert {line[:1] for line in lines[:-1]} == {b"\x1f"}
    assert lines[-1][:1] == b"\x1e"
    assert max(map(len, lines)) < 1024


@pytest.mark.parametrize("size", [899, 900, 901, 1800, 1801])
def test_an_event_of_any_length_is_one(size: int) -> None:
    assert EventSplitter().feed(data_of("x" * size)) == ([b"x" * size], b"")


@given(
    st.lists(st.tuples(st.sampled_from(["{}", LONG, '{"event": "phase"}']), OTHERS), max_size=4),
    st.lists(st.integers(1, 700)),
)
def test_what_others_write_between_lines_does_not_matter(
    said: list[tuple[str, list[bytes]]], sizes: list[int]
) -> None:
    output, others = b"", b""
    for text, more in said:
        for line in event_lines(text):
            output += b"".join(more) + line
            others += b"".join(more)
    splitter = EventSplitter()
    events: list[bytes] = []
    rest = b""
    for size in [*sizes, len(output)]:
        chunk, output = output[:size], output[size:]
        found, other = splitter.feed(chunk)
        events += found
        rest += other
    assert events == [text.encode() for text, _ in said]
    assert rest + splitter.end() == others


@pytest.mark.parametrize("text", [b"\x1e\n", b"\x1e\xff\n", b"\x1e" + b"x" * 901 + b"\n", b"\x1ex\x1e\n"])
def test_what_only_begins_like_an_event_is_none(text: bytes) -> None:
    assert EventSplitter().feed(text) == ([], text)


def test_an_event_without_an_end_is_none() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b'log\n\x1e{"event"') == ([], b"log\n")
    assert splitter.end() == b'\x1e{"event"'
    assert splitter.end() == b""
