"""The options file: its name, its text, and the option of the command line that names it."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from typing import Any

from pytest_dsr1.engines.trtllm_options.dialects import Dialect, next_to_try
from pytest_dsr1.masking import NOT_SHOWN, masked_tree
from pytest_dsr1.process.log.cause import Cause
from pytest_dsr1.text import LIKE_A_COMMAND

OPTIONS_FILE = "extra_llm_api_options.yaml"
"""Its name, in the folder of the run."""
_OLD, _NEW = "--extra_llm_api_options", "--config"
_NEW_SINCE = (1, 3, 27)
"""The dialect from which the new name is written. 1.2 has both (#9104), and NVIDIA's newer files and pages
use the new one; every version that was read still accepts the old one, which builds before #9104 need."""


def file_option(dialect: Dialect, offered: Container[str] = (_OLD, _NEW)) -> str:
    """Return the option that names the file.

    Args:
        dialect: of the file.
        offered: the options of the installed command, if they are known.
    """
    first, second = (_NEW, _OLD) if dialect.version >= _NEW_SINCE else (_OLD, _NEW)
    return first if first in offered else second


def file_text(options: Mapping[str, Any]) -> str:
    """Return the text of the file; it may have secrets.

    No line begins like a command of a CI server, even in a script that is printed: lines are not folded, and
    a text that could make such a line is in double quotes, with escapes.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """A dumper with its own form of texts."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = None if value.isprintable() and not re.search(LIKE_A_COMMAND, value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    made: str = yaml.dump(dict(options), Dumper=Dumper, sort_keys=False, width=math.inf)
    return re.sub(LIKE_A_COMMAND, lambda found: f"\\x{ord(found[0][0]):02x}{found[0][1]}", made)


def file_lines(options: Mapping[str, Any], file: str = OPTIONS_FILE) -> list[str]:
    """Return the lines of a shell script that write the file, without secrets; none without options."""
    if not options:
        return []
    shown = masked_tree(options)
    first = [f"# {NOT_SHOWN} stands for a secret: write it there before you run this"] * (shown != options)
    return [*first, f"cat > {file} <<'DSR1_OPTIONS'", file_text(shown).rstrip("\n"), "DSR1_OPTIONS"]


def rejection(cause: Cause, dialect: Dialect, file: str = OPTIONS_FILE) -> str | None:
    """Return the message if TensorRT-LLM does not have an option of the options file, else None."""
    if not cause.unknown_option or cause.option is None:
        return None
    other = next_to_try(cause.option.rpartition(".")[2], dialect)
    hint = f'; try engine.dialect: "{other}"' if other else ""
    return (
        f"rejects the option `{cause.option}` of {file}, written in dialect {dialect} "
        f"({dialect.evidence}){hint}"
    )
