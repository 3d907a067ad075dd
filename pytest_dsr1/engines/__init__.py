"""Who answers: the Engine protocol, request records, and one module an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_dsr1.engines.openai.server.reuse import KeptServer
    from pytest_dsr1.engines.protocol import Engine
    from pytest_dsr1.scenario.schema import scenario


def create(engine: scenario.Engine, kept: KeptServer | None = None) -> Engine:
    """The engine a scenario asks for; ``kept`` is where it finds, and leaves, a server of its own."""
    if engine.type == "trtllm-bench":
        from pytest_dsr1.engines.tensorrt_llm.bench.engine import TrtllmBenchEngine

        return TrtllmBenchEngine()
    if engine.type == "trtllm":
        from pytest_dsr1.engines.tensorrt_llm.llm_api.engine import TrtllmEngine

        return TrtllmEngine()
    if engine.type == "openai":
        from pytest_dsr1.engines.openai.engine import OpenAiEngine

        return OpenAiEngine(kept)
    from pytest_dsr1.engines.transformers.engine import TransformersEngine

    return TransformersEngine()
