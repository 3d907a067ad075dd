"""The loader of PyYAML for plain values that is tried first: with libyaml, it is six times as fast."""

from __future__ import annotations

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
"""The loader to try first."""


def load(text: str | bytes) -> Any:
    """Return the value of a YAML text.

    An error is Python's: its words and position are then the same for every build of PyYAML.

    Raises:
        yaml.YAMLError: the text is not YAML, or something in it has no value, such as the 45th of May.
        RecursionError: it is nested too deeply.
    """
    try:
        return yaml.load(text, FAST)  # noqa: S506 - safe
    except (yaml.YAMLError, ValueError):
        pass
    try:
        return yaml.safe_load(text)
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from None
