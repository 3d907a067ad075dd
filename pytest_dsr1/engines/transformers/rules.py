"""The rules for scenarios of the engine `transformers`."""

from __future__ import annotations

from pytest_dsr1.engines.transformers.settings import Transformers
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario

RULES: EngineRules[Transformers] = EngineRules()


@RULES.must("hardware.gpu", "hardware.count", "engine.device", "engine.type")
def _gpus_of_transformers(engine: Transformers, scenario: Scenario) -> Findings:
    """The transformers engine uses one GPU with `device: cuda` and none with `device: cpu`."""
    count = scenario.hardware.count
    if engine.device == "cuda" and count != 1:
        yield (
            "engine.device",
            f"`cuda` uses one GPU: expected hardware.count 1 and a hardware.gpu, found {count}",
        )
    if engine.device == "cpu" and count:
        yield (
            "engine.device",
            f"`cpu` uses no GPU: expected hardware.count 0, found {count}; or set `device: cuda`",
        )


@RULES.must("engine.compile", "engine.device")
def _compile_needs_gpu(engine: Transformers, _: Scenario) -> Findings:
    """`engine.compile` needs `device: cuda`."""
    if engine.compile and engine.device != "cuda":
        yield "engine.compile", f"needs `engine.device: cuda`, found `{engine.device}`"
