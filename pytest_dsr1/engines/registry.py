"""The registered engines, found by a scenario's settings."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from pytest_dsr1 import extensions
from pytest_dsr1.engines.protocol import Engine, EnginePool, EngineResult, EngineSpec, Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.records import Answer, Observer, RequestRecord
from pytest_dsr1.scenario.schema.engine import HOOK, EngineSettings, plugin_of
from pytest_dsr1.scenario.schema.scenario import Scenario


def spec_of(engine: EngineSettings) -> EngineSpec:
    """Return the engine that these settings belong to."""
    return extensions.declared(HOOK, EngineSpec)[engine.type][1]


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
        made = spec.create() if pool is None else spec.create(pool)
    _has_methods(engine, "create", made, Engine)
    return made


def new_pool(engine: EngineSettings) -> EnginePool | None:
    """Return a new pool for these engines; None if nothing is kept."""
    make = spec_of(engine).pool
    if make is None:
        return None
    with named(engine, "pool"):
        made = make()
    _has_methods(engine, "pool", made, EnginePool)
    return made


def engine_starts(scenarios: Iterable[Scenario]) -> int:
    """Return how often engines start if these run in this order; a kept one serves other loads too.

    A server at ``engine.url`` is never started.
    """
    starts, before = 0, None
    for scenario in scenarios:
        if scenario.engine.attached_url:
            continue
        key = scenario.model_dump(include={"engine", "model", "hardware", "gpu_setup", "speculation"})
        keeps = spec_of(scenario.engine).pool is not None
        starts += not keeps or key != before
        before = key
    return starts


def script(settings: EngineSettings, engine: Engine, job: Job) -> str:
    """Return the shell lines that do the same as the engine by hand."""
    with named(settings, "script"):
        made: object = engine.script(job)
    if not isinstance(made, str):
        raise _wrong(settings, "script", extensions.shown(made), "a text")
    return made


def run(settings: EngineSettings, engine: Engine, job: Job, observer: Observer) -> EngineResult:
    """Return the result of a job.

    Raises:
        EngineError: the engine failed, or its plugin returned something else.
    """
    with named(settings, "run"):
        result: object = engine.run(job, observer)
    if not isinstance(result, EngineResult):
        raise _wrong(settings, "run", extensions.shown(result), "EngineResult")
    if not extensions.is_ours(plugin_of(settings)):
        _refuse_wrong_values(settings, result)
    return result


def _refuse_wrong_values(settings: EngineSettings, result: EngineResult) -> None:
    """Refuse a result that later steps cannot read, or with a figure that is not a measurement."""
    _refuse_wrong_types(settings, "", result)
    for record in result.records:
        _refuse_wrong_types(settings, " of a record", record)
    for answer in result.answers:
        _refuse_wrong_types(settings, " of an answer", answer)
    for name, value in result.report.items():
        if name in METRICS and not METRICS[name].allows(value):
            raise _wrong(settings, "run", f"the {name} {value!r}", METRICS[name].allowed)


def _refuse_wrong_types(
    settings: EngineSettings, of: str, value: EngineResult | RequestRecord | Answer
) -> None:
    kind: Any = type(value)
    for name, adapter in _adapters(kind).items():
        found = getattr(value, name)
        try:
            adapter.validate_python(found, strict=True)
        except ValidationError:
            expected = kind.__annotations__[name]
            raise _wrong(settings, "run", f"the {name}{of} {extensions.shown(found)}", expected) from None


@cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(kind).items()}


def _has_methods(engine: EngineSettings, what: str, made: object, protocol: type) -> None:
    for name in (name for name in vars(protocol) if not name.startswith("_")):
        if not callable(getattr(made, name, None)):
            raise _wrong(engine, what, extensions.shown(made), f"an object with the method {name}")


def _wrong(engine: EngineSettings, what: str, found: str, expected: str) -> EngineError:
    why = f"{what} of its engine {engine.type} returned {found}, expected {expected}"
    return EngineError(str(extensions.broken(plugin_of(engine), why)))
