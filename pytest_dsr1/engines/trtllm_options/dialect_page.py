"""The page of the documentation with every dialect and name, made from the tables of :mod:`.dialects`,
:mod:`.names` and :mod:`.defaults`.

``python -m pytest_dsr1.engines.trtllm_options.dialect_page`` in the source tree rewrites it; a test checks
that it is current.
"""

from __future__ import annotations

from pathlib import Path

from pytest_dsr1.engines.trtllm_options.defaults import DEFAULTS
from pytest_dsr1.engines.trtllm_options.dialects import DIALECTS
from pytest_dsr1.engines.trtllm_options.names import (
    COMMAND_LINE,
    OPTIONS,
    VALUES,
    Name,
    Version,
    version_text,
)
from pytest_dsr1.storage.files import write_atomically

_INTRODUCTION = """\
# Dialects of TensorRT-LLM: names of options by version

Made by `python -m pytest_dsr1.engines.trtllm_options.dialect_page`; change
`dialects.py` and `names.py` in `pytest_dsr1/engines/trtllm_options/`, not this page.

*Read* means: in a declaration or a published command of that version. *Inferred* means: from a pull request's
date or a neighboring version. Nothing here was run against TensorRT-LLM itself. #N are pull requests of
TensorRT-LLM, V1 to V5 the publications of "Best performance practice on DeepSeek-R1".

`1.0` and `1.3` are for an unknown build of that version, and for all builds that no other row names.

| dialect | evidence | source |
|---|---|---|
"""


_VALUES = "A value that a version is not known to have is a warning; each is inferred."
_DEFAULTS = (
    "A plan and a result name each that the scenario leaves open, if 1.2 and the installed version differ."
)


def page() -> str:
    """Return the text of docs/reference/engines/dialects.md."""
    lines = [f"| {dialect} | {dialect.evidence} | {dialect.source} |" for dialect in DIALECTS]
    lines += ["", "## Names in the options file", "", "| option | from | is called | evidence | source |"]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| `{option}` | {version_text(name.since)} | {_called(name)} | {name.evidence} | {name.source} |"
        for option, names in OPTIONS.items()
        for name in names
    ]
    lines += ["", "## Options of the command line", "", "| option | from | evidence | source |"]
    lines += ["|---|---|---|---|"]
    lines += [
        f"| `{option}` | {version_text(name.since)} | {name.evidence} | {name.source} |"
        for option, name in COMMAND_LINE.items()
    ]
    lines += ["", "## Values", "", _VALUES]
    lines += ["", "| option | values |", "|---|---|"]
    lines += [
        f"| `{option}` | {', '.join(f'`{name}` {_span(*span)}' for name, span in values.items())} |"
        for option, values in VALUES.items()
    ]
    lines += ["", "## Defaults that changed", "", _DEFAULTS, ""]
    lines += [
        "| not pinned | from | before | since | effect | evidence | source |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.option}` | {version_text(one.since)} | {one.before} | {one.now} | {one.effect} "
        f"| {one.evidence} | {one.source} |"
        for one in DEFAULTS
    ]
    return _INTRODUCTION + "\n".join(lines) + "\n"


def _span(since: Version, until: Version | None) -> str:
    return f"from {version_text(since)}" + (f" to before {version_text(until)}" if until else "")


def _called(name: Name) -> str:
    if name.null:
        return f"`{name.name}: null` instead of `false`"
    if name.also:
        return f"`{name.name}` and `{name.also}`"
    return f"`{'not ' * name.inverted}{name.name}`"


def main() -> None:
    """Rewrite the page in the source tree."""
    root = Path(__file__).resolve().parents[3]
    write_atomically(root / "docs" / "reference" / "engines" / "dialects.md", page())


if __name__ == "__main__":
    main()
