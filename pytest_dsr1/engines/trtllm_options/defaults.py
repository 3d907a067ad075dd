"""Defaults and values of TensorRT-LLM that differ between versions.

A default that changed makes two versions measure different things with the same scenario. Each has a row in
:data:`DEFAULTS`, and a remark in the plan and in the result if the scenario leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_dsr1.engines.trtllm_options.dialects import RELEASED, merged, version_of
from pytest_dsr1.engines.trtllm_options.names import OPTIONS, VALUES, Provenance, Version, version_text
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.errors import UserError

BASE: Version = (1, 2, RELEASED)
"""The version that the installed one is compared with: the newest with published release notes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a scenario asks of TensorRT-LLM.

    Attributes:
        options: the options, with those that the engine itself fills in.
        environment: variables of TensorRT-LLM's processes.
        max_batch_size: the most requests in one step of a rank; None if TensorRT-LLM chooses.
        serves: whether trtllm-serve runs them.
        arguments: the arguments of its command; one with the name of an option pins it.
    """

    options: LlmApiOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    max_batch_size: int | None = None
    serves: bool = False
    arguments: Sequence[str] = ()

    def has(self, option: str) -> bool:
        """Return whether the scenario sets this option: checked, unchecked or as an argument."""
        if any(word.partition("=")[0] == f"--{option}" for word in self.arguments):
            return True
        tree: Any = merged(self.options.model_dump(exclude_none=True), self.options.unchecked or {})
        for key in option.split("."):
            if not isinstance(tree, Mapping) or key not in tree:
                return False
            tree = tree[key]
        return True

    def variable(self, name: str) -> bool:
        """Return whether the scenario sets this environment variable."""
        return name in self.environment or name in (self.options.env_overrides or {})


@dataclass(frozen=True, slots=True)
class ChangedDefault:
    """A default that changed.

    Attributes:
        option: what pins it: an option of the options file, or an environment variable.
        since: the first version with the new default.
        before: the old default, in words.
        now: the new default, in words.
        effect: what it changes.
        evidence: whether the version was read or inferred.
        source: the source of this.
        matters: whether it decides anything in a run that does not set the option.
    """

    option: str
    since: Version
    before: str
    now: str
    effect: str
    evidence: Provenance
    source: str
    matters: Callable[[Asked], bool] = lambda _: True

    def is_open(self, asked: Asked) -> bool:
        """Return whether the scenario leaves it open and it decides something."""
        pinned = asked.variable(self.option) if self.option.isupper() else asked.has(self.option)
        return not pinned and self.matters(asked)


def _pads_large_batches(asked: Asked) -> bool:
    graphs = asked.options.cuda_graph_config
    if graphs is None or not graphs.enable_padding or graphs.enabled is False:
        return False
    return (graphs.max_batch_size or asked.max_batch_size or _SAME_UP_TO + 1) > _SAME_UP_TO


_SAME_UP_TO = 128
"""Both lists of sizes are the same up to this batch."""

DEFAULTS = (
    ChangedDefault(
        "cuda_graph_config.batch_sizes",
        (1, 3, 8),
        "CUDA graphs above 128 requests double in size",
        "they grow by 64",
        "less padding: up to 1.3 times the throughput, and a start that takes 1.17 times as long",
        "read",
        "#12895; blog 20",
        _pads_large_batches,
    ),
    ChangedDefault(
        "moe_config.backend",
        (1, 3),
        "CUTLASS",
        "AUTO",
        "other kernels (TRTLLM) for FP8 block scales on Blackwell; the same for NVFP4 on B200, FP8 on H200",
        "inferred",
        "argument classes of late 2025 and of early 2026",
    ),
    ChangedDefault(
        "kv_cache_config.use_kv_cache_manager_v2",
        (1, 3),
        "off",
        "chosen by the model",
        "another manager of the KV cache",
        "inferred",
        "argument classes of early 2026 (off) and of the autumn of 2026",
    ),
    ChangedDefault(
        "kv_cache_config.enable_block_reuse",
        (1, 3),
        "on, if kv_cache_config is given",
        "off in trtllm-bench",
        "equal prefixes are computed only once",
        "inferred",
        "trtllm-bench replaced the block in August 2025 and merges it in the autumn of 2026",
        lambda asked: asked.options.kv_cache_config is not None and not asked.serves,
    ),
    ChangedDefault(
        "TRTLLM_ENABLE_PDL",
        (1, 2),
        "off",
        "on",
        "kernels start before the one before them has ended",
        "read",
        "release notes of 1.2",
    ),
    ChangedDefault(
        "num_serve_frontends",
        (1, 4),
        "one HTTP process",
        "several",
        "more requests per second at high concurrency",
        "inferred",
        "tests of trtllm-serve of late 2026",
        lambda asked: asked.serves,
    ),
)
"""From the published release notes, pull requests and argument classes."""


def remarks(asked: Asked, installed: str | None) -> Iterator[str]:
    """Yield a sentence for each open default that differs, and each value the version is not known to have.

    Args:
        asked: what the scenario asks.
        installed: the version; None if it is unknown, and then there is no remark.
    """
    if installed is None:
        return
    try:
        version = version_of(installed)
    except UserError:  # a build of a name of its own: nothing is known about it
        return
    for default in DEFAULTS:
        if default.is_open(asked) and _has(version, default.since) != _has(BASE, default.since):
            yield (
                f"{default.option} is not pinned, and differs between 1.2 and the installed version "
                f"{installed}: {default.before} before {version_text(default.since)}, {default.now} since; "
                f"effect: {default.effect}"
            )
    for option, values in VALUES.items():
        value = _at(asked.options, option)
        if value in values and not _is_in(version, values[value]):
            yield (
                f"engine.llm_api.{option}: {value} is not known in TensorRT-LLM {installed}; known are "
                f"{', '.join(name for name, span in values.items() if _is_in(version, span))}"
            )


def _has(version: Version, since: Version) -> bool:
    """Return whether a version has what came with ``since``; an unknown build of that version may have it."""
    return version >= since or (len(version) == 2 and version == since[:2])


def _is_in(version: Version, span: tuple[Version, Version | None]) -> bool:
    since, until = span
    return _has(version, since) and (until is None or version < until)


def _at(options: LlmApiOptions, option: str) -> Any:
    assert option in OPTIONS
    value: Any = options
    for key in option.split("."):
        value = getattr(value, key, None)
    return value
