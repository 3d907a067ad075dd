"""Reading YAML: what a value means, where it stands, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.yaml import reader
from pytest_dsr1.scenario.yaml.reader import parse


def plain(text: str) -> Any:
    return parse(text, "s", []).plain()


def refusal(path: Path) -> str:
    """The one message about a file, the folder left out."""
    with pytest.raises(UserError) as caught:
        load(path)
    header, line = str(caught.value).splitlines()
    assert header.endswith(": 1 mistake in this scenario")
    return line.strip().replace(f"{path.parent}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("-12", -12),
        ("010", 10),
        ("1.5", 1.5),
        ("1e5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e-07", 1e-7),
        ("on", "on"),
        ("No", "No"),
        ("12:30", "12:30"),
        ("2025-04-01", "2025-04-01"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        (".nan", ".nan"),
        ("9" * 31, "9" * 31),
        ("9" * 31 + ".5", "9" * 31 + ".5"),
        ("1e999", "1e999"),
        ("'8'", "8"),
        ('"true"', "true"),
        ("|\n  8\n", "8\n"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("{on: 1, 2: null}", {"on": 1, "2": None}),
        ("[&a {x: 1}, *a]", [{"x": 1}, {"x": 1}]),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = plain(f"k: {text}\n")["k"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_and_key_knows_its_place() -> None:
    tree = parse("# x\na:\n  - b: 1\n    c: [2, 3]\n", "s", [])
    places = {path: (str(mark), str(node.mark)) for path, mark, node in tree.walk()}
    assert places == {
        ("a",): ("s:2:1", "s:3:3"),
        ("a", 0): ("s:3:5", "s:3:5"),
        ("a", 0, "b"): ("s:3:5", "s:3:8"),
        ("a", 0, "c"): ("s:4:5", "s:4:8"),
        ("a", 0, "c", 0): ("s:4:9", "s:4:9"),
        ("a", 0, "c", 1): ("s:4:12", "s:4:12"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "s: contains no value; expected a scenario"),
        ("a: 1\n---\nb: 2", "s:2:1: a second document begins here; expected one scenario per file"),
        (
            "a: [1",
            "s:1:6: not valid YAML: while parsing a flow sequence expected ',' or ']', but got "
            "'<stream end>'; a bracket or quote is not closed",
        ),
        (
            "a: 'x",
            "s:1:6: not valid YAML: while scanning a quoted scalar found unexpected end of stream; a bracket "
            "or quote is not closed",
        ),
        (
            "a:\n\tb: 1",
            "s:2:1: not valid YAML: while scanning for the next token found character '\\t' that cannot "
            "start any token; indent with spaces, not tabs",
        ),
        (
            "a: {b: ${X}}",
            "s:1:9: not valid YAML: while parsing a flow mapping expected ',' or '}', but got '{'; put "
            "a value with ${...} in quotes",
        ),
        ("a: b: c", "s:1:5: not valid YAML: mapping values are not allowed here"),
        ("a: *b", "s:1:4: the alias '*b' has no anchor above it"),
        ("a: &b [*b]", "s:1:8: the alias '*b' has no anchor above it"),
        ("a: \x07", "s:1:4: not valid YAML: the character '\\x07' is not allowed"),
        ('a: "\\UFFFFFFFF"', "s: not valid YAML: an escape in quotes is not a valid character"),
        ("[" * 40, "s:1:34: values are nested more than 32 levels deep"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 40)),
            "s:32:12: values are nested more than 32 levels deep",
        ),
        ("- " * 20_000 + "1", "s:1:67: values are nested more than 32 levels deep"),
        (
            "[" + "1," * 10_001 + "]",
            "s:1:20000: the file expands to more than 10000 values (are its aliases an alias bomb?)",
        ),
    ],
)
def test_what_cannot_be_read_is_one_mistake(text: str, message: str) -> None:
    with pytest.raises(MistakeError) as caught:
        parse(text, "s", [])
    assert str(caught.value.problem) == message


def test_an_alias_bomb_is_refused_before_it_is_expanded(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
    )
    assert refusal(bomb) == (
        "bomb.yaml:5:10: the file expands to more than 10000 values (are its aliases an alias bomb?)"
    )


def test_a_surrogate_is_a_mistake() -> None:
    problems: list[Problem] = []
    assert parse('a: "x\\ud800"', "s", problems).plain() == {"a": "x?"}
    assert [str(problem) for problem in problems] == [
        "s:1:4: the text 'x\\ud800' contains a character that is not allowed in a path or option"
    ]


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file was opened"))
    assert refusal(large) == ("large.yaml: is 100.0 MB; expected a scenario file of at most 1 MB (not read)")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "s.yaml: is empty; expected a scenario"),
        (b" \n\n", "s.yaml: is empty; expected a scenario"),
        (
            "name: ü\n".encode("latin-1"),
            "s.yaml:1:7: expected UTF-8 text, found byte 0xfc; save the file as UTF-8",
        ),
        (b"a: 1\nb: \xe9\n", "s.yaml:2:4: expected UTF-8 text, found byte 0xe9; save the file as UTF-8"),
        (
            "name: x\n".encode("utf-16"),
            "s.yaml:1:1: expected UTF-8 text, found byte 0xff (it looks like UTF-16); save the file as UTF-8",
        ),
        (b"- a\n", "s.yaml:1:1: expected a mapping with keys such as `name:`, found a list"),
        (
            b"text\n",
            "s.yaml:1:1: expected a mapping with keys such as `name:`, found a single value",
        ),
        (b"\x00\x00", "s.yaml:1:1: not valid YAML: the character '\\x00' is not allowed"),
    ],
)
def test_bytes_that_are_no_scenario(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(data)
    assert refusal(path) == message


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert reader.read(path) == "name: x\n"


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    assert refusal(tmp_path / "folder.yaml") == (
        "folder.yaml: is a folder; expected a scenario file (choose one of the files in it)"
    )
    assert refusal(tmp_path / "pipe.yaml") == "pipe.yaml: is a device or pipe; expected a scenario file"
    assert refusal(tmp_path / "missing.yaml") == "missing.yaml: there is no such file"


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: x")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path) == "s.yaml: cannot be read: Permission denied"


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), TEXT)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(DATA)
def test_data_comes_back(data: object) -> None:
    assert plain(yaml.safe_dump({"k": data})) == {"k": data} or _reads_as_number(data)


def _reads_as_number(data: object) -> bool:
    """Whether some text in it, such as 1e5, is a number in YAML 1.2 alone."""
    if isinstance(data, dict):
        return any(_reads_as_number(item) for item in [*data, *data.values()])
    if isinstance(data, list):
        return any(map(_reads_as_number, data))
    return isinstance(data, str) and not isinstance(reader.plain_scalar(data), str)


def test_marks_of_an_option_have_no_lines() -> None:
    assert str(Mark("--dsr1-set a=1")) == Mark("--dsr1-set a=1").file_line == "--dsr1-set a=1"
