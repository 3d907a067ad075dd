"""Options in effect: what an engine made of the options that it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

from pytest_dsr1.masking import masked_tree

CHANGES_THE_MEASUREMENT = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "moe_expert_parallel_size",
    "enable_attention_dp",
    "max_batch_size",
    "max_num_tokens",
    "backend",
    "attn_backend",
    "moe_config.backend",
    "cuda_graph_config.enable_padding",
    "cuda_graph_config.max_batch_size",
    "kv_cache_config.dtype",
    "kv_cache_config.enable_block_reuse",
    "enable_chunked_prefill",
    "disable_overlap_scheduler",
    "speculative_config.max_draft_len",
    "speculative_config.num_nextn_predict_layers",
)
"""TensorRT-LLM's options that change what is measured (patterns as in fnmatch): parallel sizes, batches,
kernels, number formats, scheduling and drafts."""

_AUTOMATIC = {"AUTO", "NONE"}
"""A value with which the engine chooses by itself, so any value in effect is right."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option that was given to an engine.

    Attributes:
        name: its name in the engine, with dots for nested options.
        asked: the value that was given, as a JSON value.
        in_effect: the value that the engine has, as a JSON value.
    """

    name: str
    asked: object
    in_effect: object

    @property
    def differs(self) -> bool:
        """Whether another value is in effect; not if the engine was asked to choose."""
        if str(self.asked).upper() in _AUTOMATIC:
            return False
        return _comparable(self.asked) != _comparable(self.in_effect)

    @property
    def changes_the_measurement(self) -> bool:
        """Whether the option changes what is measured; not known of a list, which an engine may sort."""
        if isinstance(self.asked, list | dict) or isinstance(self.in_effect, list | dict):
            return False
        return any(fnmatchcase(self.name, pattern) for pattern in CHANGES_THE_MEASUREMENT)

    @property
    def sentence(self) -> str:
        """The difference in words."""
        return f"{self.name} was {self.in_effect} instead of {self.asked}"


def options_in_effect(asked: Mapping[str, object], effective: object) -> Iterator[Option]:
    """Yield each option that was asked for, with its value in the engine's own settings object.

    An option that the object does not have under the same name was not read, and is left out.

    Args:
        asked: option to value; nested options are mappings.
        effective: the engine's settings, such as TensorRT-LLM's ``LLM.args``.
    """
    for name, value in asked.items():
        if (found := _attribute(effective, name)) is _MISSING:
            continue
        if isinstance(value, Mapping) and found is not None:
            for inner in options_in_effect(value, found):
                yield Option(f"{name}.{inner.name}", inner.asked, inner.in_effect)
        else:
            yield Option(name, _plain(value), _plain(found))


def saved(options: Iterator[Option]) -> dict[str, list[object]]:
    """Return options as JSON values: name to the values asked for and in effect, both without secrets."""
    return {
        option.name: [_masked(option, option.asked), _masked(option, option.in_effect)] for option in options
    }


def _masked(option: Option, value: object) -> object:
    leaf = option.name.rpartition(".")[2]
    return masked_tree({leaf: value})[leaf]


def of_saved(options: Mapping[str, object]) -> Iterator[Option]:
    """Yield the options of :func:`saved`; what has another form is left out."""
    for name, values in options.items():
        if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 2:
            yield Option(name, *values)


_MISSING = object()


def _attribute(effective: object, name: str) -> object:
    if isinstance(effective, Mapping):
        return effective.get(name, _MISSING)
    return getattr(effective, name, _MISSING)


def _plain(value: object) -> object:
    """Return a value as JSON has it; an object of the engine as its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)


def _comparable(value: object) -> object:
    """Return a value in a form in which equal settings are equal: engines change case and number types."""
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return float(value)
    return str(value).lower()
