"""The names of TensorRT-LLM's options by version, for the options file and the command line.

Scenarios use the newest names. Each option below lists its names, each with its first version and its
evidence: ``read`` in a declaration or a published command of that version, or ``inferred`` from a pull
request's date or an adjacent version. The sources are TensorRT-LLM's own: pull requests as #number, commits,
and V1 to V5, the publications of "Best performance practice on DeepSeek-R1".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_dsr1.engines.tensorrt_llm.options import LlmApiOptions
from pytest_dsr1.errors import UserError

Provenance = Literal["read", "inferred"]
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The names of one version and the later ones, up to the next dialect.

    Attributes:
        version: major and minor.
        evidence: whether the names were read in declarations or inferred.
        source: the source of the names.
    """

    version: Version
    evidence: Provenance
    source: str

    def __str__(self) -> str:
        return "{}.{}".format(*self.version)


DIALECTS = (
    Dialect((0, 18), "read", "commands and options of V1 and V2; throughput.py of April 2025"),
    Dialect((0, 20), "inferred", "0.18 with --eos_id (#3776) and the overlap scheduler on (b4e5df0e)"),
    Dialect((0, 21), "inferred", "0.20 without pytorch_backend_config (#4603, #4890)"),
    Dialect((1, 0), "read", "throughput.py 000a01de and the LLM API reference of 1.0.0rc4; V4 and V5"),
    Dialect((1, 1), "read", "throughput.py 56851033 (1.1 / 1.2rc); options file inferred from 1.0"),
    Dialect((1, 2), "read", "as 1.1, with --config (#9104)"),
    Dialect((1, 3), "read", "throughput.py 0ba687b7; max_draft_len from #12341"),
    Dialect((1, 4), "inferred", "1.3 without the TensorRT backend (#15918, #18850)"),
)
"""From old to new."""

NEWEST = next(dialect for dialect in reversed(DIALECTS) if dialect.evidence == "read")
"""The dialect for an unknown version."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of an option from a version on.

    Attributes:
        since: the first version.
        name: the name; dots separate the levels of the options file.
        evidence: whether the first version was read or inferred.
        source: the source of this.
        inverted: whether the old option has the opposite meaning.
    """

    since: Version
    name: str
    evidence: Provenance
    source: str
    inverted: bool = False


def _pytorch(name: str, flat: str, evidence: Provenance, source: str, *later: Name) -> tuple[Name, ...]:
    """Return the names of an option that was in pytorch_backend_config before 0.21."""
    return (
        Name((0, 18), f"pytorch_backend_config.{name}", evidence, source),
        Name((0, 21), flat, "inferred", "#4603, #4890"),
        *later,
    )


_REFERENCE = "LLM API reference of 1.0.0rc4"
_CUDA_GRAPH = f"{_REFERENCE}; #5014, #5585"

OPTIONS: Mapping[str, tuple[Name, ...]] = {
    "enable_attention_dp": (Name((0, 18), "enable_attention_dp", "read", "V2"),),
    "attention_dp_config.enable_balance": (
        Name((1, 1), "attention_dp_config.enable_balance", "inferred", "perf-overview 03e27c7d"),
    ),
    "attention_dp_config.batching_wait_iters": (
        Name((1, 1), "attention_dp_config.batching_wait_iters", "inferred", "perf-overview 03e27c7d"),
    ),
    "attention_dp_config.timeout_iters": (
        Name((1, 1), "attention_dp_config.timeout_iters", "inferred", "perf-overview 03e27c7d"),
    ),
    "cuda_graph_config.batch_sizes": _pytorch(
        "cuda_graph_batch_sizes",
        "cuda_graph_batch_sizes",
        "read",
        "V2",
        Name((1, 0), "cuda_graph_config.batch_sizes", "read", _CUDA_GRAPH),
    ),
    "cuda_graph_config.max_batch_size": _pytorch(
        "cuda_graph_max_batch_size",
        "cuda_graph_max_batch_size",
        "inferred",
        "the name before #5014",
        Name((1, 0), "cuda_graph_config.max_batch_size", "read", _CUDA_GRAPH),
    ),
    "cuda_graph_config.enable_padding": _pytorch(
        "cuda_graph_padding_enabled",
        "cuda_graph_padding_enabled",
        "read",
        "V2",
        Name((1, 0), "cuda_graph_config.enable_padding", "read", _CUDA_GRAPH),
    ),
    "moe_config.backend": _pytorch(
        "moe_backend",
        "moe_backend",
        "inferred",
        "V3",
        Name((1, 0), "moe_config.backend", "read", f"{_REFERENCE}; #6003"),
    ),
    "moe_config.max_num_tokens": _pytorch(
        "moe_max_num_tokens",
        "moe_max_num_tokens",
        "inferred",
        "the name before #6003",
        Name((1, 0), "moe_config.max_num_tokens", "read", f"{_REFERENCE}; #6003"),
    ),
    "kv_cache_config.dtype": _pytorch(
        "kv_cache_dtype",
        "kv_cache_dtype",
        "inferred",
        "the name in 1.0",
        Name((1, 0), "kv_cache_dtype", "read", f"{_REFERENCE}; V4"),
        Name((1, 1), "kv_cache_config.dtype", "inferred", "the old key was removed in 1.0 or 1.1"),
    ),
    "kv_cache_config.free_gpu_memory_fraction": (
        Name((0, 18), "kv_cache_config.free_gpu_memory_fraction", "inferred", _REFERENCE),
        Name((1, 0), "kv_cache_config.free_gpu_memory_fraction", "read", _REFERENCE),
    ),
    "kv_cache_config.enable_block_reuse": (
        Name((0, 18), "kv_cache_config.enable_block_reuse", "inferred", _REFERENCE),
        Name((1, 0), "kv_cache_config.enable_block_reuse", "read", _REFERENCE),
    ),
    "kv_cache_config.max_tokens": (
        Name((0, 18), "kv_cache_config.max_tokens", "inferred", _REFERENCE),
        Name((1, 0), "kv_cache_config.max_tokens", "read", _REFERENCE),
    ),
    "speculative_config.decoding_type": (Name((0, 18), "speculative_config.decoding_type", "read", "V1"),),
    "speculative_config.max_draft_len": (
        Name((0, 18), "speculative_config.num_nextn_predict_layers", "read", "V1 to V5"),
        Name((1, 3), "speculative_config.max_draft_len", "inferred", "#12341, in a 1.3 release candidate"),
    ),
    "speculative_config.use_relaxed_acceptance_for_thinking": (
        Name((0, 20), "speculative_config.use_relaxed_acceptance_for_thinking", "inferred", "blog 2, MTP"),
        Name((1, 0), "speculative_config.use_relaxed_acceptance_for_thinking", "read", _REFERENCE),
    ),
    "speculative_config.relaxed_topk": (
        Name((0, 20), "speculative_config.relaxed_topk", "inferred", "blog 2, MTP"),
        Name((1, 0), "speculative_config.relaxed_topk", "read", _REFERENCE),
    ),
    "speculative_config.relaxed_delta": (
        Name((0, 20), "speculative_config.relaxed_delta", "inferred", "blog 2, MTP"),
        Name((1, 0), "speculative_config.relaxed_delta", "read", _REFERENCE),
    ),
    "print_iter_log": _pytorch("print_iter_log", "print_iter_log", "read", "V2"),
    "stream_interval": (Name((1, 0), "stream_interval", "read", _REFERENCE),),
    "disable_overlap_scheduler": (
        Name((0, 18), "pytorch_backend_config.enable_overlap_scheduler", "read", "V1", inverted=True),
        Name((0, 20), "pytorch_backend_config.disable_overlap_scheduler", "inferred", "b4e5df0e"),
        Name((0, 21), "disable_overlap_scheduler", "inferred", "#4603, #4890"),
    ),
    "enable_iter_perf_stats": _pytorch(
        "enable_iter_perf_stats", "enable_iter_perf_stats", "inferred", "the name in 1.0"
    ),
    "allreduce_strategy": (Name((1, 0), "allreduce_strategy", "read", _REFERENCE),),
    "enable_autotuner": (Name((1, 0), "enable_autotuner", "read", _REFERENCE),),
    "enable_min_latency": (Name((1, 0), "enable_min_latency", "read", _REFERENCE),),
}
"""Every option of the options file by its newest name, with its names from old to new."""

_NOW_DEFAULT: tuple[tuple[Version, Mapping[str, bool]], ...] = (
    (
        (0, 20),
        {
            "pytorch_backend_config.use_cuda_graph": True,
            "pytorch_backend_config.enable_overlap_scheduler": True,
        },
    ),
    ((0, 21), {"pytorch_backend_config.use_cuda_graph": True}),
    ((1, 0), {"use_cuda_graph": True}),
)
"""Options that are the default from this version on and must be set before it, as V1 to V3 did."""

COMMAND_LINE: Mapping[str, Name] = {
    "--model": Name((0, 18), "--model", "read", "8b13f594"),
    "--model_path": Name((0, 18), "--model_path", "read", "8b13f594"),
    **{
        name: Name((0, 18), name, "read", "throughput.py of April 2025")
        for name in (
            *("--backend", "--dataset", "--num_requests", "--concurrency", "--warmup", "--streaming"),
            *("--tp", "--pp", "--ep", "--max_batch_size", "--max_num_tokens", "--max_seq_len"),
            *("--kv_cache_free_gpu_mem_fraction", "--extra_llm_api_options", "--report_json"),
            "--iteration_log",
        )
    },
    "--eos_id": Name((0, 20), "--eos_id", "inferred", "#3776"),
    "--request_json": Name((1, 0), "--request_json", "read", "000a01de"),
    "--enable_chunked_context": Name((1, 0), "--enable_chunked_context", "read", "000a01de"),
    "--scheduler_policy": Name((1, 0), "--scheduler_policy", "read", "000a01de"),
    "--disable_chunked_context": Name((1, 1), "--disable_chunked_context", "read", "56851033"),
}
"""The options of ``trtllm-bench`` and its ``throughput`` that the engine may use."""


_RELEASE = re.compile(r"\s*v?(\d{1,4})\.(\d{1,4})(?!\d)", re.IGNORECASE | re.ASCII)
"""The begin of a version. What follows may be any text of a vendor's own build, which PEP 440 refuses."""


def version_of(text: str) -> Version:
    """Return major and minor of a version such as ``1.2``, ``1.2.1``, ``1.3.0rc5`` or ``1.2-custom``.

    Raises:
        UserError: the text is not a version.
    """
    found = _RELEASE.match(text)
    if found is None:
        raise UserError(f"{text!r} is not a version of TensorRT-LLM; expected one such as 1.2")
    return int(found[1]), int(found[2])


def dialect_of(version: str) -> Dialect:
    """Return the dialect of a version; the last dialect for newer versions.

    Raises:
        UserError: the text is not a version, or it is older than all dialects.
    """
    wanted = version_of(version)
    if wanted < DIALECTS[0].version:
        raise UserError(
            f"TensorRT-LLM {version} is older than the oldest version this plugin knows, {DIALECTS[0]}; "
            "use a newer TensorRT-LLM"
        )
    return next(dialect for dialect in reversed(DIALECTS) if dialect.version <= wanted)


def translate(options: LlmApiOptions, dialect: Dialect) -> dict[str, Any]:
    """Return the content of the options file in the names of ``dialect``.

    Options without a name in it (:func:`inexpressible`) are left out.
    """
    content: dict[str, Any] = {}
    former = next((options for before, options in _NOW_DEFAULT if dialect.version < before), {})
    for path, value in former.items():
        _put(content, path, value)
    for option, value in _leaves(options.model_dump(exclude_none=True)):
        if name := name_of(option, dialect):
            _put(content, name.name, not value if name.inverted else value)
    return content


def inexpressible(options: LlmApiOptions, dialect: Dialect) -> list[str]:
    """Return the options without a name in ``dialect``, each with the first version that has one."""
    return [
        f"engine.llm_api.{option} (available since {_text(OPTIONS[option][0].since)})"
        for option, _ in _leaves(options.model_dump(exclude_none=True))
        if name_of(option, dialect) is None
    ]


def cannot_express(scenario: str, dialect: Dialect, problems: Sequence[str]) -> UserError:
    """Return the error for options that ``dialect`` does not have."""
    return UserError(
        f"{scenario}: TensorRT-LLM {dialect} does not have {', '.join(problems)}; remove it from the "
        "scenario or use a newer TensorRT-LLM; if the detected version is wrong, set engine.dialect to the "
        "right one"
    )


def name_of(option: str, dialect: Dialect) -> Name | None:
    """Return the name of an option of the options file in ``dialect``; None if it has no name."""
    return next((name for name in reversed(OPTIONS[option]) if name.since <= dialect.version), None)


def command_line_options(dialect: Dialect) -> frozenset[str]:
    """Return the command-line options of ``dialect``, for use when ``--help`` is not available."""
    return frozenset(option for option, name in COMMAND_LINE.items() if name.since <= dialect.version)


def next_to_try(key: str, dialect: Dialect) -> Dialect | None:
    """Return the dialect to try next after a key of the options file was rejected.

    Args:
        key: the last part of the rejected name.
        dialect: the dialect it was written in.

    Returns:
        The next newer dialect in which the option was renamed, or the last older one before it had this name.
        An adjacent dialect for a key without another name. None if there is no dialect left.
    """
    later: list[Version] = []
    earlier: list[Version] = []
    for names in OPTIONS.values():
        known = [name for name in names if name.since <= dialect.version]
        if known and key in known[-1].name.split("."):
            later += [name.since for name in names[len(known) :] if key not in name.name.split(".")]
            earlier += [known[-1].since] if len(known) > 1 else []
    if later:
        return next(other for other in DIALECTS if other.version == min(later))
    before = max(earlier, default=dialect.version)
    older = [other for other in DIALECTS if other.version < before]
    newer = [other for other in DIALECTS if other.version > dialect.version]
    if earlier or not newer:
        return older[-1] if older else None
    return newer[0]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _put(content: dict[str, Any], path: str, value: object) -> None:
    *levels, last = path.split(".")
    for level in levels:
        content = content.setdefault(level, {})
    content[last] = value


def _text(version: Version) -> str:
    return "{}.{}".format(*version)
