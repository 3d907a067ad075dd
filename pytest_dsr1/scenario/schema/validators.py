"""Validators of plugins' engine settings that crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from pytest_dsr1 import extensions
from pytest_dsr1.scenario.schema.engine import HOOK, EngineSchema, engines


@contextmanager
def validating(kind: object) -> Iterator[None]:
    """Name the plugin of an engine if one of its validators crashes in the block.

    Args:
        kind: the value of ``engine.type``.

    Raises:
        BrokenPluginError: a validator raised something else than ValueError or AssertionError.
    """
    try:
        yield
    except ValidationError:
        raise
    except extensions.FAULTS:
        if str(kind) not in engines():
            raise
        plugin, _ = extensions.declared(HOOK, EngineSchema)[str(kind)]
        with extensions.named(plugin, f"a validator of its engine {kind}"):
            raise
