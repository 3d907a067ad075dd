"""Who answers: the Engine protocol, request records, and one module an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_dsr1.engines.base import Engine
    from pytest_dsr1.engines.openai_kept import KeptServer
    from pytest_dsr1.scenario import model


def create(engine: model.Engine, kept: KeptServer | None = None) -> Engine:
    """The engine a scenario asks for; ``kept`` is where it finds, and leaves, a server of its own."""
    if engine.type == "trtllm-bench":
        from pytest_dsr1.engines.trtllm_bench import TrtllmBenchEngine

        return TrtllmBenchEngine()
    if engine.type == "trtllm":
        from pytest_dsr1.engines.trtllm import TrtllmEngine

        return TrtllmEngine()
    if engine.type == "openai":
        from pytest_dsr1.engines.openai import OpenAiEngine

        return OpenAiEngine(kept)
    from pytest_dsr1.engines.embedded import TransformersEngine

    return TransformersEngine()
