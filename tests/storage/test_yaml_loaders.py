"""libyaml and Python's parser: the same values, the same errors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from yaml.events import NodeEvent, ScalarEvent

from pytest_dsr1.storage.yaml_loaders import FAST, load, loader_for

# fmt: off
PIECES = (
    "a", "b: ", "1", " ", "\n", "\n  ", "- ", ": ", "'", '"', "{", "}", "[", "]", ",", " #c", "#", "&x ",
    "*x", "|", ">", "!!str ", "!", "? ", "?", "\t", "\ufeff", "é", "😀", "---\n", "%", "\x85", "\r\n", "${A}",
    "http://x:1", "~", "2026-01-02", "key: value\n", "  - x\n",
)
# fmt: on

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(values)
def test_what_was_dumped_is_read_alike(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load(text) == yaml.safe_load(text)


texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@example("a: !")
@example("[!, b]")
@example("a:\tb")
@example("a: b\t# c")
@example("[a?b, c]")
@example("a: 1\n\ufeff# c\nb: 2")
@example("|#c\n a")
@given(texts)
def test_a_text_is_read_or_refused_as_by_python(text: str) -> None:
    try:
        expected = repr(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError):
        with pytest.raises(yaml.YAMLError):
            load(text)
        return
    assert repr(load(text)) == expected


def positions(text: str, loader: Any) -> list[tuple[object, ...]] | None:
    """Where values begin, but for the empty value of an empty document; None if the text is refused."""
    try:
        return [
            (type(each), each.start_mark.line, each.start_mark.column)
            for each in yaml.parse(text, Loader=loader)
            if isinstance(each, NodeEvent) and each.start_mark is not None
            if not isinstance(each, ScalarEvent) or each.value
        ]
    except yaml.YAMLError:
        return None


@given(texts)
def test_values_begin_at_the_same_positions(text: str) -> None:
    found = positions(text, loader_for(text))
    assert found is None or found == positions(text, yaml.SafeLoader)


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c", "a:\n\tb: 1", "a: \0", "a: ]"])
def test_an_error_is_pythons(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as expected:
        yaml.safe_load(text)
    with pytest.raises(type(expected.value)) as found:
        load(text)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    "text",
    [
        *('a: "\\UFFFFFFFF"', "a: 2026-13-45", "a: 2026-05-45", "a: 1" + 200 * ":1" + ".0"),
        *("a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: !!float ''"),
    ],
)
def test_what_has_no_value_is_an_error_of_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load(text)


@pytest.mark.parametrize("text", ["'- ' * 100_000", "'[' * 3_000"])
def test_deep_nesting_ends_no_process(text: str) -> None:
    code = f"from pytest_dsr1.storage.yaml_loaders import load\nload({text})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RecursionError: ")


def test_libyaml_is_used_where_pyyaml_has_it() -> None:
    assert (FAST is not yaml.SafeLoader) == yaml.__with_libyaml__


SHOW = "from pytest_dsr1.storage.yaml_loaders import FAST, load\nprint(FAST.__name__, load('a: [1, x]'))"


def test_without_libyaml() -> None:
    code = f"import sys\nsys.modules['yaml._yaml'] = None\n{SHOW}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "SafeLoader {'a': [1, 'x']}\n"


def test_pyyaml_imported_again() -> None:
    forget = "for name in [name for name in sys.modules if name.startswith(('yaml', 'pytest_dsr1'))]:\n"
    code = f"import sys\n{SHOW}\n{forget}    del sys.modules[name]\n{SHOW}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "SafeLoader {'a': [1, 'x']}"
