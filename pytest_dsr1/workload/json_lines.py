"""Lines of JSONL files that people bring: what is wrong with a line, in words."""

from __future__ import annotations

import json

from pytest_dsr1.text import json_value


def json_object(line: bytes) -> dict[str, object] | str:
    """Return the JSON object of a line without its end, or the problem with it."""
    if b"\0" in line:
        return "the line contains a NUL byte; is this a UTF-8 text file?"
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte {line[error.start]:#04x} at column {error.start + 1}"
    if text.startswith("\ufeff"):
        return "the line begins with a byte order mark; save the file as UTF-8 without it"
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}; expected one whole object on the line"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; endless nesting
        return f"not usable JSON: {error}"
    return data if isinstance(data, dict) else f"expected a JSON object, found {json_value(data)}"


def half_surrogate(text: str) -> int | None:
    """Return the index of half of a surrogate pair, which tokenizers reject; None if there is none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
