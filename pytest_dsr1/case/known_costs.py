"""What options are known to cost: what NVIDIA measured with DeepSeek-R1, mostly one option at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from pytest_dsr1.masking import masked_fact
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number

_GPU, _GPUS = "NVIDIA B200", 8
_BLOG_2 = "TensorRT-LLM's tech blog 2"
_BLOG_3 = "TensorRT-LLM's tech blog 3"
_DEPTHS = "tech blog 1 and pull request 4762 of TensorRT-LLM"
_JOINT = "TensorRT-LLM's tech blog 1, for the MoE backend and engine.ep together"

Load = Literal["one request at a time", "full load"]
_FULL_LOAD = 1024
"""From this many requests at once on it is full load. Tech blog 3 had about 4,000 on 8 GPUs."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The share of output speed that a value of an option costs, in percent.

    Attributes:
        least_percent: in one publication, or as one can read it; None if other options were changed with it.
        most_percent: in another one; equal if there is only one.
        load: how many requests there were.
        source: the publications.
    """

    least_percent: float | None
    most_percent: float
    load: Load
    source: str

    @property
    def sentence(self) -> str:
        """The cost in words, with the conditions under which it was measured."""
        most = f"{number(self.most_percent)}%"
        percent = most
        if self.least_percent is None:
            percent = f"up to {most}"
        elif self.least_percent != self.most_percent:
            percent = f"{number(self.least_percent)}% to {most}"
        where = "for" if self.load == "one request at a time" else "at"
        return f"known to cost {percent} {where} {self.load} on {_GPUS} {_GPU} ({self.source})"


def _one(least: float | None, most: float, source: str) -> Cost:
    return Cost(least, most, "one request at a time", source)


def _full(least: float, most: float) -> Cost:
    return Cost(least, most, "full load", _BLOG_3)


_COSTS: Mapping[Load, Mapping[tuple[str, object], Cost]] = {
    "one request at a time": {
        ("cuda_graphs", False): _one(86.1, 86.1, _BLOG_2),  # 7.22 times faster with them
        ("overlap_scheduler", False): _one(2.9, 2.9, _BLOG_2),  # 1.03 times faster with it
        # 111, 198, 250, 253, 245 and 239 tok/s with 0 to 5 draft tokens, and 151.1, 266.1, 317.7, 320.3,
        # 306.4, 291.8, 269.5 and 254.0 with 0 to 7. The published runs have 3.
        ("draft_tokens", 0): _one(52.8, 56.1, _DEPTHS),
        ("draft_tokens", 1): _one(16.9, 21.7, _DEPTHS),
        ("draft_tokens", 2): _one(0.8, 1.2, _DEPTHS),
        ("draft_tokens", 4): _one(3.2, 4.3, _DEPTHS),
        ("draft_tokens", 5): _one(5.5, 8.9, _DEPTHS),
        ("draft_tokens", 6): _one(15.9, 15.9, "pull request 4762 of TensorRT-LLM"),
        ("draft_tokens", 7): _one(20.7, 20.7, "pull request 4762 of TensorRT-LLM"),
        # 340 tok/s before, 368 after; and 2.16 and 2.33 times as fast as without draft tokens.
        ("relaxed_acceptance", False): _one(7.3, 7.6, "tech blogs 1 and 2 of TensorRT-LLM"),
        # 253 tok/s with CUTLASS and 4 expert ranks, 299 with TRTLLM and 2.
        ("moe_backend", "cutlass"): _one(None, 15.4, _JOINT),
        ("ep", 4): _one(None, 15.4, _JOINT),
        # 40 tok/s instead of 253, with all options for throughput and without draft tokens.
        ("attention_dp", True): _one(None, 84.2, "issue 3058 of TensorRT-LLM, all options for throughput"),
    },
    # "A 400% speedup" may mean 5 times as fast or 4 times, and "142%" 2.42 times or 1.42; "22% E2E
    # performance impact" may be of the time with graphs or without them, and so "4%".
    "full load": {
        ("attention_dp", False): _full(75.0, 80.0),
        ("ep", 1): _full(29.6, 58.7),
        ("cuda_graphs", False): _full(18.0, 22.0),
        ("overlap_scheduler", False): _full(3.8, 4.0),
        # 6% more throughput in FP8 with as many requests at once; in BF16 fewer fit.
        ("kv_cache_dtype", "bf16"): _full(5.7, 5.7),
        ("kv_cache_dtype", "bfloat16"): _full(5.7, 5.7),
    },
}
"""By load, then by shared name and value in effect; all of 8 GPUs, 1,000 tokens in and 2,000 out."""

_API = "engine.llm_api."
_GROUPS: Mapping[str, tuple[str, Callable[[Scenario], object]]] = {
    "engine.ep": ("ep", lambda of: _value(of, "engine.ep") or 1),
    f"{_API}cuda_graph_config": (
        "cuda_graphs",
        lambda of: _at(of, "cuda_graph_config.enabled") is not False,
    ),
    f"{_API}speculative_config.use_relaxed_acceptance_for_thinking": (
        "relaxed_acceptance",
        lambda of: _at(of, "speculative_config.use_relaxed_acceptance_for_thinking") is True,
    ),
    f"{_API}speculative_config": ("draft_tokens", lambda of: of.engine.draft_tokens or 0),
    f"{_API}disable_overlap_scheduler": (
        "overlap_scheduler",
        lambda of: _at(of, "disable_overlap_scheduler") is not True,
    ),
    f"{_API}enable_attention_dp": ("attention_dp", lambda of: _at(of, "enable_attention_dp") is True),
    f"{_API}kv_cache_config.dtype": ("kv_cache_dtype", lambda of: _at(of, "kv_cache_config.dtype")),
    f"{_API}moe_config.backend": ("moe_backend", lambda of: _at(of, "moe_config.backend")),
}
"""Keys of a scenario, alone or of a group, each with the shared name of its option and the value it has; the
first that fits counts."""


def known_cost(name: str, value: object, scenario: Scenario) -> Cost | None:
    """Return what a value of an option costs in a scenario like the one that was measured; else None.

    Args:
        name: of the option, as all engines share it.
        value: in effect.
        scenario: of the run.
    """
    load = _load(scenario)
    if load is None or (scenario.hardware.gpu, scenario.hardware.count) != (_GPU, _GPUS):
        return None
    value = value.lower() if isinstance(value, str) else value
    return _COSTS[load].get((name, value)) if isinstance(value, int | str) else None


def _load(scenario: Scenario) -> Load | None:
    """Return which load a scenario has; None if it is between the two."""
    if scenario.load.concurrency == 1:
        return "one request at a time"
    return "full load" if scenario.load.at_once >= _FULL_LOAD else None


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
    return _value(scenario, f"{_API}{option}")


def _value(scenario: Scenario, key: str) -> object:
    """Return the value at a dotted key; None if it is not set."""
    value: object = scenario
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value
