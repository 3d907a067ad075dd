"""Text of a saved file must not drive the terminal."""

from __future__ import annotations

import re
import subprocess
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dsr1.text import (
    by_numbers,
    clock,
    columns,
    did_you_mean,
    harmless,
    hours,
    json_value,
    plain,
    say,
    shell_command,
    shell_comment,
    shell_word,
    wrapped,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("NVIDIA H200, 700 W", "NVIDIA H200, 700 W"),
        ("Zürich 日本", "Zürich 日本"),
        ("\x1b[31mred\x07\n\t\x7f", "\\x1b[31mred\\x07\\x0a\\x09\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2066c\u200bd", "a\\u202eb\\u2066c\\u200bd"),
        ("\ud800\u2028\U000e0041", "\\ud800\\u2028\\U000e0041"),
    ],
)
def test_what_a_terminal_obeys_is_shown(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_long_text_is_cut() -> None:
    assert plain("x" * 300) == "x" * 300
    assert plain("x" * 10_000) == "x" * 297 + "..."
    assert plain("abcdef", 5) == "ab..."
    assert plain("\x1b" * 3, 10) == "\\x1b\\x1..."


HARMFUL = "\x1b\x9b\r\n\u202e\ud800:#[a "
ANY = st.text(st.characters(codec=None, exclude_categories=()) | st.sampled_from(HARMFUL))


@given(ANY, st.integers(3, 400))
def test_it_is_short_printable_and_for_any_encoder(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text
    assert plain(shown, limit) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\n  lines", "two\n  lines"),
        ("a\tb\x1b[2J\u202e", "a   b\\x1b[2J\\u202e"),
        ("::error file=a,line=1::bad", ": :error file=a,line=1::bad"),
        ("GPU\n   ::stop-commands::x", "GPU\n   : :stop-commands::x"),
        ("a name ::add-mask::H200 that is wrapped", "a name : :add-mask::H200 that is wrapped"),
        ("##[error]bad", "# #[error]bad"),
        ("suites/a.yaml::target[average_ttft] at ::1 or ::ffff:10.0.0.1", None),
    ],
)
def test_neither_a_terminal_nor_a_ci_server_obeys(text: str, expected: str | None) -> None:
    assert harmless(text) == (text if expected is None else expected)


@given(ANY)
def test_no_line_is_a_command_however_it_is_wrapped(text: str) -> None:
    shown = harmless(text)
    for word in shown.split():
        assert not re.match(r"::[A-Za-z-]+::", word)
    assert "##[" not in shown
    assert all(line.isprintable() for line in shown.split("\n"))


def test_what_is_said_is_harmless_wherever_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    say("::debug::a\n\x1b[2J##[error]b")
    say(ValueError("::error ::c"), error=True)
    said = capsys.readouterr()
    assert (said.out, said.err) == (": :debug::a\n\\x1b[2J# #[error]b\n", ": :error ::c\n")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(columns([("metric", "a"), ("x", "10"), ("longer one", "")])) == [
        "metric      a",
        "x           10",
        "longer one",
    ]


def test_columns_can_be_aligned_right_and_have_a_least_width() -> None:
    assert list(columns([("a", "10", "x"), ("b", "9", "")], right={1}, least=(3, 4))) == [
        "a      10  x",
        "b       9",
    ]


def test_wrapped_text_keeps_its_line_breaks_and_indentation() -> None:
    text = "one two three\n  four five six\n\nseven"
    assert wrapped(text, 14, first="label ", rest="      ", long_words=False) == [
        "label one two",
        "      three",
        "        four",
        "        five",
        "        six",
        "      ",
        "      seven",
    ]


def test_long_words_are_broken_or_left_whole() -> None:
    path = "/data/a-long-name"
    assert wrapped(path, 11) == ["/data/a-lo", "ng-name"]
    assert wrapped(path, 11, hyphens=True) == ["/data/a-", "long-name"]
    assert wrapped(path, 11, long_words=False) == [path]


def test_no_wrapped_line_is_a_command() -> None:
    assert wrapped("12345678901::error::x", 12) == ["12345678901", ": :error::x"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (-1234, "-1,234"),
        (10**400, "a number of more than 20 digits"),
        (1.5, "1.5"),
        (float("nan"), "NaN"),
        ("8", '"8"'),
        ("\u202e" * 3, r'"\u202e\u202e\u202e"'),
        ("x" * 50, f'"{"x" * 36}...'),
        ([], "an empty list"),
        ([1], "a list"),
        ({}, "an object"),
    ],
)
def test_a_json_value_takes_a_few_words(value: object, text: str) -> None:
    assert json_value(value) == text


@pytest.mark.parametrize(
    ("word", "remark"),
    [
        ("max-batchsize", " (did you mean 'max_batch_size'?)"),
        ("batch", " (did you mean 'max_batch_size'?)"),
        ("ttp", " (did you mean 'tp', which is already there?)"),
        ("zzz", ""),
    ],
)
def test_the_nearest_known_word_is_suggested(word: str, remark: str) -> None:
    assert did_you_mean(word, ["max_batch_size", "tp"], present={"tp"}) == remark


def test_several_words_can_be_suggested() -> None:
    known = ["h200-max", "b200-max", "cpu"]
    assert did_you_mean("h20-max", known, most=3) == " (did you mean 'h200-max' or 'b200-max'?)"
    assert did_you_mean("h20-max", known) == " (did you mean 'h200-max'?)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00"), (-3, "00:00"), (61.9, "01:01"), (3725, "1:02:05")]
)
def test_durations(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tp8", "tp8"),
        ("my models", "'my models'"),
        ("http://[::1]:8000", "'http://[::1]:8000'"),
        ("Zürich", "'Zürich'"),
        ("a\x1bb'%\\", "\"$(printf 'a\\033b\\047\\045\\134')\""),
        ("-n\x07", "\"$(printf '\\055n\\007')\""),
        ("\udcff", "\"$(printf '\\377')\""),
        ("\ud800", "\"$(printf '\\355\\240\\200')\""),
        ("::error::x", "\"$(printf '\\072\\072error\\072\\072x')\""),
        ("a\nb\n", "\"$(printf 'a\\012b')\n\""),
    ],
)
def test_a_word_of_a_shell(text: str, expected: str) -> None:
    assert shell_word(text) == expected


@given(st.lists(ANY.filter(lambda text: "\0" not in text), max_size=4))
@settings(max_examples=60)
def test_a_shell_gets_the_words_and_a_terminal_nothing_else(words: list[str]) -> None:
    line = shell_command(["printf", "%s\\0", "first", *words])
    assert harmless(line).replace("\n", "") == line.replace("\n", "") or len(line) > 2_000
    done = subprocess.run(["sh", "-c", line], capture_output=True, env={}, check=True)
    expected = ("first", *words)
    assert done.stdout == b"".join(_bytes(word) + b"\0" for word in expected)


def _bytes(word: str) -> bytes:
    """Return what a program gets of a word: of a path its bytes, also those that are not UTF-8."""
    return b"".join(
        char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass")
        for char in word
    )


def test_every_line_of_a_comment_is_one() -> None:
    text = "tp8\nrm -rf ~\x85rm -rf ~\u2028rm\x1b[31m"
    assert shell_comment(text) == "# tp8\n# rm -rf ~\n# rm -rf ~\n# rm\\x1b[31m"


def test_texts_are_sorted_by_their_numbers() -> None:
    texts = ["c-64", "c-8", "c-256", "c", "b-9", "rate-0.25", "rate-0.5", "rate-10", "8-c"]
    assert sorted(texts, key=by_numbers) == [
        "8-c",
        "b-9",
        "c",
        "c-8",
        "c-64",
        "c-256",
        "rate-0.25",
        "rate-0.5",
        "rate-10",
    ]


@given(st.lists(st.text()))
def test_any_texts_can_be_sorted_by_their_numbers(texts: list[str]) -> None:
    assert sorted(sorted(texts, key=by_numbers)) == sorted(texts)


@pytest.mark.parametrize(
    ("seconds", "gpus", "expected"),
    [
        (1800.0, 0, "0.5 h"),
        (1800.0, -1, "0.5 h"),
        (32 * 905.75, 8, "8.1 h, 64 GPU-h"),
        (360_000.0, 8, "100 h, 800 GPU-h"),
        (4e6, 8, "1,111 h, 8,889 GPU-h"),
    ],
)
def test_hours(seconds: float, gpus: int, expected: str) -> None:
    assert hours(seconds, gpus) == expected
