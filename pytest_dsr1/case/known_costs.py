"""What options are known to cost: ladders that NVIDIA measured with DeepSeek-R1, one option at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from pytest_dsr1.masking import masked_fact
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number

_GPU = "NVIDIA B200"
_BLOG_2 = "TensorRT-LLM's tech blog 2"
_DEPTHS = "tech blog 1 and pull request 4762 of TensorRT-LLM"


@dataclass(frozen=True, slots=True)
class Cost:
    """The share of output speed that a value of an option costs, in percent.

    Attributes:
        least_percent: in one publication.
        most_percent: in another one; equal if there is only one.
        source: the publications.
    """

    least_percent: float
    most_percent: float
    source: str

    @property
    def sentence(self) -> str:
        """The cost in words, with the conditions under which it was measured."""
        least, most = f"{number(self.least_percent)}%", f"{number(self.most_percent)}%"
        percent = least if least == most else f"{least} to {most}"
        return f"known to cost {percent} for one request at a time on {_GPU} ({self.source})"


_COSTS: Mapping[tuple[str, object], Cost] = {
    ("cuda_graphs", False): Cost(86.1, 86.1, _BLOG_2),  # 7.22 times faster with them
    ("overlap_scheduler", False): Cost(2.9, 2.9, _BLOG_2),  # 1.03 times faster with it
    # 111, 198, 250, 253, 245 and 239 tok/s with 0 to 5 draft tokens, and 151.1, 266.1, 317.7, 320.3, 306.4,
    # 291.8, 269.5 and 254.0 with 0 to 7. The published runs have 3.
    ("draft_tokens", 0): Cost(52.8, 56.1, _DEPTHS),
    ("draft_tokens", 1): Cost(16.9, 21.7, _DEPTHS),
    ("draft_tokens", 2): Cost(0.8, 1.2, _DEPTHS),
    ("draft_tokens", 4): Cost(3.2, 4.3, _DEPTHS),
    ("draft_tokens", 5): Cost(5.5, 8.9, _DEPTHS),
    ("draft_tokens", 6): Cost(15.9, 15.9, "pull request 4762 of TensorRT-LLM"),
    ("draft_tokens", 7): Cost(20.7, 20.7, "pull request 4762 of TensorRT-LLM"),
}
"""By shared name and value in effect; all of 8 GPUs, 1 request at a time, 1,000 tokens in and 2,000 out."""

_GROUPS: Mapping[str, tuple[str, Callable[[Scenario], object]]] = {
    "engine.llm_api.cuda_graph_config": (
        "cuda_graphs",
        lambda of: _at(of, "cuda_graph_config.enabled") is not False,
    ),
    "engine.llm_api.speculative_config": ("draft_tokens", lambda of: of.engine.draft_tokens or 0),
    "engine.llm_api.disable_overlap_scheduler": (
        "overlap_scheduler",
        lambda of: _at(of, "disable_overlap_scheduler") is not True,
    ),
}
"""Keys of a scenario, alone or of a group, each with the shared name of its option and the value it has."""


def known_cost(name: str, value: object, scenario: Scenario) -> Cost | None:
    """Return what a value of an option costs in a scenario like the one that was measured; else None.

    Args:
        name: of the option, as all engines share it.
        value: in effect.
        scenario: of the run.
    """
    if scenario.load.concurrency != 1 or scenario.hardware.gpu != _GPU:
        return None
    return _COSTS.get((name, value)) if isinstance(value, int) else None


def difference(key: str, scenario: Scenario) -> str:
    """Return a key of the scenario that differs from the published run, with its value and known cost."""
    value = masked_fact(f"option.{key}", _value(scenario, key))
    here = "" if isinstance(value, BaseModel | dict | list) else f": {json.dumps(value)} here"
    cost = cost_of(key, scenario)
    return f"{key}{here}, {cost.sentence}" if cost else f"{key}{here}"


def cost_of(key: str, scenario: Scenario) -> Cost | None:
    """Return what the value of a key of the scenario is known to cost; None if that is unknown."""
    for group, (name, in_effect) in _GROUPS.items():
        if key == group or key.startswith(f"{group}."):
            return known_cost(name, in_effect(scenario), scenario)
    return None


def _at(scenario: Scenario, option: str) -> object:
    return _value(scenario, f"engine.llm_api.{option}")


def _value(scenario: Scenario, key: str) -> object:
    """Return the value at a dotted key; None if it is not set."""
    value: object = scenario
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value
