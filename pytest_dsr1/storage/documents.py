"""The envelope of saved documents, ``format`` and ``version``, in JSON or YAML.

Measurements, gates, recorded runs and references begin with these two. A reader checks them first, to
distinguish a file of another kind, a damaged file and a file of a newer version.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dsr1.storage.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

NUMBER = (int, float)


class DocumentError(Exception):
    """The file is not an intact document of its kind; the message says why, without the path."""


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """One kind of saved document.

    Attributes:
        what: its name in messages, with an article, such as ``a saved gate``.
        format: the value of ``format`` in its files.
        version: the value of ``version``; other versions are refused.
    """

    what: str
    format: str
    version: int

    @property
    def head(self) -> dict[str, str | int]:
        """The envelope, which is written before the content."""
        return {"format": self.format, "version": self.version}

    def read_json(self, path: Path) -> dict[str, Any]:
        """Return the whole document of a JSON file.

        Raises:
            FileNotFoundError: there is no such file.
            DocumentError: the file cannot be read, or is not a document of this kind and version.
        """
        try:
            document = json.loads(read_text(path))
        except RecursionError:
            raise DocumentError("is nested too deeply; it was damaged after it was written") from None
        except ValueError as error:
            raise DocumentError(f"is not JSON ({error}); it was damaged after it was written") from None
        if not isinstance(document, dict) or document.get("format") != self.format:
            raise DocumentError(self._another_kind())
        if document.get("version") != self.version:
            raise DocumentError(self._another_version(repr(document.get("version"))))
        return document

    def check_yaml(self, text: str) -> None:
        """Check the envelope of a YAML text. Its content is not parsed, so it may be truncated.

        Raises:
            DocumentError: the text is not a document of this kind and version.
        """
        if not text.strip():
            raise DocumentError("is empty")
        if not re.search(rf'^format: "{re.escape(self.format)}"$', text, re.MULTILINE):
            raise DocumentError(_not_yaml(text) or self._another_kind())
        version = re.search(r"^version: (.+)$", text, re.MULTILINE)
        if version and version[1] != str(self.version):
            raise DocumentError(self._another_version(version[1]))

    def _another_kind(self) -> str:
        return f'is not {self.what} ("format" is not "{self.format}")'

    def _another_version(self, found: str) -> str:
        return (
            f"has format version {found}; this pytest-dsr1 reads version {self.version}: use the pytest-dsr1 "
            "that wrote it"
        )


def read_text(path: Path) -> str:
    """Return the text of a file, with Unix line ends.

    Raises:
        FileNotFoundError: there is no such file.
        DocumentError: it cannot be read, or is not text.
    """
    try:
        with open_regular(path) as file:
            return file.read().decode().replace("\r\n", "\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DocumentError(
            f"cannot be read: {error.strerror}; `ls -ld {path}` shows what is there"
        ) from None
    except UnicodeDecodeError:
        raise DocumentError("is not a text file; it was damaged after it was written") from None


def changed(error: ValidationError) -> str:
    """Return the first problem in a document with a correct envelope, and where it is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    said = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    if first["type"] == "union_tag_invalid" and first["loc"] == ("engine",):
        return f"engine.type: there is no engine {first['ctx']['tag']} here; {FIND_PLUGIN}"
    return said if first["type"] == UNKNOWN_METRIC else f"{said}; {CHANGED}"


CHANGED = "the file was changed after it was written"
UNKNOWN_METRIC = "unknown_metric"
"""The type of the error about a metric that no plugin declares; an unchanged file can have it."""
FIND_PLUGIN = (
    "is its plugin installed? The command pytest-dsr1 finds plugins by their entry points only; pytest also "
    "finds them in the conftest.py of the folders it starts with (see: pytest-dsr1 docs extend)"
)
"""What to do about a name that no plugin declares."""


def _not_yaml(text: str) -> str | None:
    """Return why a text is not YAML; None if it is."""
    import yaml

    from pytest_dsr1.storage.yaml_loaders import load

    try:
        load(text)
    except RecursionError:
        return "is nested too deeply; it was damaged after it was written"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        return f"is not YAML{where}; it was damaged after it was written"
    return None


def attributes_of(
    saved: Mapping[str, object], fields: Mapping[str, tuple[str, type | tuple[type, ...]]]
) -> tuple[dict[str, Any], dict[str, object]]:
    """Return the attributes of a saved mapping, and what is not one: other keys, and values of another type.

    Args:
        saved: the mapping.
        fields: its keys, each with its attribute and the type of its value.
    """
    known: dict[str, Any] = {}
    other: dict[str, object] = {}
    for key, value in saved.items():
        name, kind = fields.get(key, ("", ()))
        if name and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            known[name] = value
        else:
            other[key] = value
    return known, other
