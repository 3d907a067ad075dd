"""The registered engines, found by a scenario's settings."""

from __future__ import annotations

from pytest_dsr1 import extensions
from pytest_dsr1.engines.protocol import Engine, EnginePool, EngineSpec
from pytest_dsr1.scenario.schema.engine import HOOK, EngineSettings


def spec_of(engine: EngineSettings) -> EngineSpec:
    """Return the engine that these settings belong to."""
    return next(spec for _, spec in extensions.values(HOOK, EngineSpec) if spec.name == engine.type)


def create(engine: EngineSettings, pool: EnginePool | None = None) -> Engine:
    """Return a new engine for one measurement; ``pool`` keeps its resources for the next one."""
    spec = spec_of(engine)
    return spec.create() if pool is None else spec.create(pool)
