"""The registered engines, found by a scenario's settings."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pytest_dsr1 import extensions
from pytest_dsr1.engines.protocol import Engine, EnginePool, EngineSpec
from pytest_dsr1.errors import EngineError
from pytest_dsr1.scenario.schema.engine import HOOK, EngineSettings, plugin_of


def spec_of(engine: EngineSettings) -> EngineSpec:
    """Return the engine that these settings belong to."""
    return next(spec for _, spec in extensions.values(HOOK, EngineSpec) if spec.name == engine.type)


def named(engine: EngineSettings, what: str) -> AbstractContextManager[None]:
    """Return a context in which an unexpected error of a plugin's engine makes the run INVALID.

    Args:
        engine: the settings of the engine that the block calls.
        what: what the block calls, such as ``create``.
    """
    return extensions.named(plugin_of(engine), f"{what} of its engine {engine.type}", EngineError)


def create(engine: EngineSettings, pool: EnginePool | None = None) -> Engine:
    """Return a new engine for one measurement; ``pool`` keeps its resources for the next one."""
    spec = spec_of(engine)
    with named(engine, "create"):
        return spec.create() if pool is None else spec.create(pool)
