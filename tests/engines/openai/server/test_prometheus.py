"""Lines of interest out of a page of metrics."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.server.prometheus import Sample, is_exposition, samples

NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", fullmatch=True)
KEYS = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.floats()
SAMPLES = st.builds(Sample, NAMES, st.dictionaries(KEYS, st.text(), max_size=4), VALUES)


def written(sample: Sample, timestamp: bool) -> str:
    """The sample as a server writes it."""
    shown = {math.inf: "+Inf", -math.inf: "-Inf"}.get(sample.value, repr(sample.value)).replace("nan", "NaN")
    labels = ",".join(
        '{}="{}"'.format(key, re.sub(r'([\\"])', r"\\\1", text).replace("\n", r"\n"))
        for key, text in sample.labels.items()
    )
    name = f"{sample.name}{{{labels}}}" if labels else sample.name
    return f"{name} {shown}{' 1700000000000' if timestamp else ''}"


@given(st.lists(SAMPLES, max_size=6, unique_by=lambda sample: sample.name), st.booleans())
def test_what_a_server_writes_is_read(wanted: list[Sample], timestamp: bool) -> None:
    assume(not any(sample.name.endswith("_more") for sample in wanted))
    lines = []
    for sample in wanted:
        lines += [f"# HELP {sample.name} {sample.name} 1.0", f"# TYPE {sample.name} gauge"]
        lines += [written(sample, timestamp), written(Sample(f"{sample.name}_more", {}, 7.0), timestamp)]
    found = list(samples("\n".join([*lines, ""]).encode(), [sample.name for sample in wanted]))
    assert [(s.name, s.labels, repr(s.value)) for s in found] == [
        (s.name, s.labels, repr(s.value)) for s in wanted
    ]


@given(st.binary(max_size=200), st.sampled_from([b"a{", b"a ", b"a\t", b"a", b""]))
def test_garbage_is_an_error_in_words_or_nothing(garbage: bytes, head: bytes) -> None:
    try:
        found = list(samples(b"# TYPE a gauge\n" + head + garbage, ["a"]))
    except ValueError:
        return
    assert all(sample.name == "a" for sample in found)


@pytest.mark.parametrize(
    "line",
    [
        "a{x=1} 2",
        'a{x="1} 2',
        'a{x="1" y="2"} 3',
        'a{,x="1"} 2',
        "a 1_000",
        "a 0x10",
        "a one",
        "a ",
        "a{} ",
        "a 1 2 3",
        'a{9="1"} 2',
    ],
)
def test_line_that_is_no_sample(line: str) -> None:
    with pytest.raises(ValueError, match="not a sample in Prometheus' text format: 'a"):
        list(samples(f"{line}\n".encode(), ["a"]))


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("a 1", Sample("a", {}, 1.0)),
        ("a\t 1e-3 ", Sample("a", {}, 0.001)),
        ("a{} +Inf", Sample("a", {}, math.inf)),
        ('a{x="",} .5 -1', Sample("a", {"x": ""}, 0.5)),
        ('a { x="}{" , y="\\\\ \\" \\n" } 2.', Sample("a", {"x": "}{", "y": '\\ " \n'}, 2.0)),
        ("a 1\r\nb 2", Sample("a", {}, 1.0)),
    ],
)
def test_odd_but_good_lines(line: str, sample: Sample) -> None:
    assert list(samples(f"{line}\n".encode(), ["a"])) == [sample]


def test_page_that_was_cut() -> None:
    with pytest.raises(ValueError, match="the page is cut off in the middle of a line: b'a 12'"):
        list(samples(b"a 1\na 12", ["a"]))


def test_longer_names_and_descriptions_are_not_the_metric() -> None:
    page = b'# HELP a a 3\n# TYPE a gauge\na_created 9\nabc 8\na 1\na{x="1"} 2\n#a 4\n a 5\nba 6\n'
    assert [sample.value for sample in samples(page, ["a"])] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("page", "is_one"),
    [
        (b"", True),
        (b"# HELP a b\n", True),
        (b"a 1\n# TYPE b gauge\n", True),
        (b"<html># TYPE", False),
        (b'{"data": []}', False),
    ],
)
def test_page_that_may_be_one_of_metrics(page: bytes, is_one: bool) -> None:
    assert is_exposition(page) is is_one
