"""The loaders of YAML with plain values. libyaml's parser is six times as fast as Python's."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver


def _fast() -> Any:
    """Return libyaml's parser below Python's composer.

    libyaml's own composer ends the process where a text is nested deeply (PyYAML 6.0). Python's loader stands
    in where PyYAML was built without libyaml, and where it was imported again, as by pytester: libyaml's
    parser keeps the classes of the first import.
    """
    try:
        from yaml import _yaml
    except ImportError:
        return yaml.SafeLoader
    if getattr(_yaml, "yaml", None) is not yaml:
        return yaml.SafeLoader

    class Fast(Composer, _yaml.CParser, SafeConstructor, Resolver):
        def __init__(self, stream: str | bytes) -> None:
            _yaml.CParser.__init__(self, stream)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Fast


FAST = _fast()
"""The faster loader."""
_READ_DIFFERENTLY = re.compile(r"[\t!?\ufeff]|[|>][-+0-9]*#")
"""The two parsers differ on tabs, tags, explicit keys, byte order marks, and comments that touch a ``|``."""
_ERRORS = (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for a wrong text, tag or value."""


def loader_for(text: str) -> Any:
    """Return the loader to try first: the faster one for a text that both read alike."""
    return yaml.SafeLoader if _READ_DIFFERENTLY.search(text) else FAST


def load(text: str) -> Any:
    """Return the value of a YAML text; it does not depend on how PyYAML was built, and neither does an error.

    Raises:
        yaml.YAMLError: the text is not YAML, or something in it has no value, such as the 45th of May.
        RecursionError: it is nested too deeply.
    """
    try:
        return yaml.load(text, loader_for(text))  # noqa: S506 - safe
    except _ERRORS:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise
    except _ERRORS as error:
        raise yaml.YAMLError(str(error)) from None
