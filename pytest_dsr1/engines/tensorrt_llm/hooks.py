"""The hook that registers the engines `trtllm-bench` and `trtllm`."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.engines.protocol import Engine, EngineSpec
from pytest_dsr1.engines.tensorrt_llm.rules import RULES
from pytest_dsr1.engines.tensorrt_llm.settings import Trtllm, TrtllmBench
from pytest_dsr1.engines.trtllm_options import rules as of_options


def pytest_dsr1_engines() -> Iterable[EngineSpec]:
    """List both engines: NVIDIA's command, and the LLM API in a child process."""
    rules = (*RULES.relations, *of_options.RULES.relations)
    return [
        EngineSpec(settings=TrtllmBench, create=_bench, rules=rules),
        EngineSpec(settings=Trtllm, create=_llm_api, rules=rules),
    ]


def _bench() -> Engine:
    from pytest_dsr1.engines.tensorrt_llm.bench.engine import TrtllmBenchEngine

    return TrtllmBenchEngine()


def _llm_api() -> Engine:
    from pytest_dsr1.engines.tensorrt_llm.llm_api.engine import TrtllmEngine

    return TrtllmEngine()
