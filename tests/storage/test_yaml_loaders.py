"""libyaml and Python's parser: the same values, the same errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.storage.yaml_loaders import FAST, load

PIECES = (
    *(
        "a",
        "b: ",
        "1",
        " ",
        "\n",
        "\n  ",
        "- ",
        ": ",
        "'",
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        " #c",
        "&x ",
        "*x",
        "|",
    ),
    *(">", "!!str ", "é", "😀", "---\n", "? ", "%", "\x85", "\r\n", "${A}", "http://x:1", "~", "2026-01-02"),
)

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(values)
def test_what_was_dumped_is_read_alike(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load(text) == yaml.safe_load(text)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_what_python_reads_libyaml_reads_alike(text: str) -> None:
    try:
        expected = repr(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError):
        return
    assert repr(load(text)) == expected


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c", "a:\n\tb: 1", "a: \0", "a: ]"])
def test_an_error_is_pythons(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as expected:
        yaml.safe_load(text)
    with pytest.raises(type(expected.value)) as found:
        load(text)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "a: 2026-13-45", "a: 2026-05-45"])
def test_what_has_no_value_is_an_error_of_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load(text)


def test_deep_nesting_ends_no_process() -> None:
    code = "from pytest_dsr1.storage.yaml_loaders import load\nload('- ' * 100_000)"
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
