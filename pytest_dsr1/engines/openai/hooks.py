"""The hook that registers the engine `openai`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_dsr1.engines.openai.rules import RULES
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Engine, EnginePool, EngineSpec
from pytest_dsr1.engines.trtllm_options import rules as of_options

if TYPE_CHECKING:
    from pytest_dsr1.engines.openai.server.reuse import ServerPool


def pytest_dsr1_engines() -> Iterable[EngineSpec]:
    """List the engine with the pool that keeps its server for the next scenario."""
    rules = (*RULES.relations, *of_options.RULES.relations)
    return [EngineSpec(settings=OpenAi, create=_create, pool=_pool, rules=rules)]


def _create(pool: ServerPool | None = None) -> Engine:
    from pytest_dsr1.engines.openai.engine import OpenAiEngine

    return OpenAiEngine(pool)


def _pool() -> EnginePool:
    from pytest_dsr1.engines.openai.server.reuse import ServerPool

    return ServerPool()
