"""The hook that registers the engine `transformers`."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.engines.protocol import Engine, EngineSpec
from pytest_dsr1.engines.transformers.rules import RULES
from pytest_dsr1.engines.transformers.settings import Transformers


def pytest_dsr1_engines() -> Iterable[EngineSpec]:
    """List the engine."""
    return [EngineSpec(settings=Transformers, create=_create, rules=tuple(RULES.relations))]


def _create() -> Engine:
    from pytest_dsr1.engines.transformers.engine import TransformersEngine

    return TransformersEngine()
