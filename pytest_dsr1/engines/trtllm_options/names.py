"""The tables of names: every option of the options file and of the command line, with its names by version.

Scenarios use the newest names. Each option lists its names, each with its first version and its evidence:
``read`` in a declaration or a published command of that version, or ``inferred`` from a pull request's date
or an adjacent version. The sources are TensorRT-LLM's own: pull requests as #number, commits, and V1 to V5,
the publications of "Best performance practice on DeepSeek-R1".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Provenance = Literal["read", "inferred"]
Version = tuple[int, ...]
"""Major and minor, and if the build is known its release candidate or ``RELEASED``; they compare in order."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of an option from a version on.

    Attributes:
        since: the first version.
        name: the name; dots separate the levels of the options file.
        evidence: whether the first version was read or inferred.
        source: the source of this.
        inverted: whether the old option has the opposite meaning.
        also: a second name to write with the same value, where either may be the one that counts.
        null: whether null is written instead of false, and nothing instead of true.
    """

    since: Version
    name: str
    evidence: Provenance
    source: str
    inverted: bool = False
    also: str = ""
    null: bool = False

    @property
    def words(self) -> frozenset[str]:
        """Every key of the options file in the name."""
        return frozenset(f"{self.name}.{self.also}".split("."))

    def written(self, value: object) -> Iterator[tuple[str, object]]:
        """Yield the names to write in the options file, each with its value."""
        if self.null:
            yield from () if value else ((self.name, None),)
            return
        for name in filter(None, (self.name, self.also)):
            yield name, not value if self.inverted else value


_CLASSES = "argument classes of"


def _pytorch(name: str, flat: str, evidence: Provenance, source: str, *later: Name) -> tuple[Name, ...]:
    """Return the names of an option that was in pytorch_backend_config before 0.21."""
    nested = f"pytorch_backend_config.{name}"
    read_later = (Name((0, 20), nested, "read", f"{_CLASSES} 0.20"),) if evidence == "inferred" else ()
    return (
        Name((0, 18), nested, evidence, source),
        *read_later,
        Name((0, 21), flat, "read", f"{_CLASSES} 0.21; #4603, #4890"),
        *later,
    )


def _same(name: str, *since: tuple[Version, Provenance, str]) -> tuple[Name, ...]:
    """Return the entries of an option that never changed its name."""
    return tuple(Name(version, name, evidence, source) for version, evidence, source in since)


_REFERENCE = "LLM API reference of 1.0.0rc4"
_AUGUST = "argument classes of August 2025"
_LATE_2025 = "argument classes of late 2025, but not in those of August"
_EARLY_2026 = "argument classes of early 2026, but not in those of late 2025"
_MID_2026 = "argument classes of mid 2026, but not in those of late 2025"
_SINCE_1_0: tuple[Version, Provenance, str] = ((1, 0), "read", _REFERENCE)
_BEFORE_1_0: tuple[Version, Provenance, str] = ((0, 18), "inferred", _REFERENCE)
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
    "cuda_graph_config.enabled": _pytorch(
        "use_cuda_graph",
        "use_cuda_graph",
        "read",
        "V2",
        Name((1, 0), "cuda_graph_config", "read", _REFERENCE, null=True),
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
        Name((1, 0, 5), "kv_cache_config.dtype", "inferred", f"{_CLASSES} August 2025; #5752"),
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
        Name(
            (1, 3),
            "speculative_config.num_nextn_predict_layers",
            "read",
            "#12341; argument classes before and after it",
            also="speculative_config.max_draft_len",
        ),
        Name((1, 3, 27), "speculative_config.max_draft_len", "read", "reference page of 1.3.0rc27; #12341"),
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
        Name(
            (0, 20), "pytorch_backend_config.disable_overlap_scheduler", "read", f"{_CLASSES} 0.20; b4e5df0e"
        ),
        Name((0, 21), "disable_overlap_scheduler", "read", f"{_CLASSES} 0.21; #4603, #4890"),
    ),
    "enable_iter_perf_stats": _pytorch(
        "enable_iter_perf_stats", "enable_iter_perf_stats", "inferred", "the name in 1.0"
    ),
    "allreduce_strategy": (Name((1, 0), "allreduce_strategy", "read", _REFERENCE),),
    "enable_autotuner": (Name((1, 0), "enable_autotuner", "read", _REFERENCE),),
    "enable_min_latency": (Name((1, 0), "enable_min_latency", "read", _REFERENCE),),
    "moe_config.load_balancer": _same("moe_config.load_balancer", ((1, 0), "inferred", _AUGUST)),
    "moe_config.use_low_precision_moe_combine": _same(
        "moe_config.use_low_precision_moe_combine", ((1, 1), "inferred", _LATE_2025)
    ),
    "moe_config.disable_finalize_fusion": _same(
        "moe_config.disable_finalize_fusion", ((1, 1), "inferred", _LATE_2025)
    ),
    "kv_cache_config.tokens_per_block": _same(
        "kv_cache_config.tokens_per_block", ((1, 1), "inferred", _LATE_2025)
    ),
    "kv_cache_config.host_cache_size": _same("kv_cache_config.host_cache_size", _BEFORE_1_0, _SINCE_1_0),
    "kv_cache_config.use_kv_cache_manager_v2": _same(
        "kv_cache_config.use_kv_cache_manager_v2", ((1, 2), "inferred", _EARLY_2026)
    ),
    "speculative_config.use_mtp_vanilla": _same(
        "speculative_config.use_mtp_vanilla", ((1, 0), "inferred", _AUGUST)
    ),
    "speculative_config.mtp_eagle_one_model": _same(
        "speculative_config.mtp_eagle_one_model", ((1, 1), "inferred", _LATE_2025)
    ),
    "attn_backend": _same("attn_backend", _SINCE_1_0),
    "enable_chunked_prefill": _same("enable_chunked_prefill", _BEFORE_1_0, _SINCE_1_0),
    "enable_lm_head_tp_in_adp": _same("enable_lm_head_tp_in_adp", ((1, 1), "inferred", _LATE_2025)),
    "context_parallel_size": _same("context_parallel_size", _SINCE_1_0),
    "batch_wait_timeout_ms": _same("batch_wait_timeout_ms", ((1, 1), "inferred", _LATE_2025)),
    "batch_wait_timeout_iters": _same("batch_wait_timeout_iters", ((1, 1), "inferred", _LATE_2025)),
    "batch_wait_max_tokens_ratio": _same("batch_wait_max_tokens_ratio", ((1, 1), "inferred", _LATE_2025)),
    "num_postprocess_workers": _same("num_postprocess_workers", _SINCE_1_0),
    "num_serve_frontends": _same(
        "num_serve_frontends",
        ((1, 4), "inferred", "tests of trtllm-serve of late 2026; version by their date"),
    ),
    "torch_compile_config.enable_fullgraph": _same(
        "torch_compile_config.enable_fullgraph", ((1, 0), "inferred", _AUGUST)
    ),
    "torch_compile_config.enable_inductor": _same(
        "torch_compile_config.enable_inductor", ((1, 0), "inferred", _AUGUST)
    ),
    "torch_compile_config.enable_piecewise_cuda_graph": _same(
        "torch_compile_config.enable_piecewise_cuda_graph", ((1, 0), "inferred", _AUGUST)
    ),
    "torch_compile_config.enable_userbuffers": _same(
        "torch_compile_config.enable_userbuffers", ((1, 0), "inferred", _AUGUST)
    ),
    "torch_compile_config.max_num_streams": _same(
        "torch_compile_config.max_num_streams", ((1, 0), "inferred", _AUGUST)
    ),
    "torch_compile_config.capture_num_tokens": _same(
        "torch_compile_config.capture_num_tokens", ((1, 1), "inferred", _LATE_2025)
    ),
    "nvfp4_gemm_config.allowed_backends": _same(
        "nvfp4_gemm_config.allowed_backends", ((1, 2), "inferred", _MID_2026)
    ),
    "sparse_attention_config": _same("sparse_attention_config", ((1, 1), "inferred", _LATE_2025)),
    "cache_transceiver_config.backend": _same(
        "cache_transceiver_config.backend", ((1, 0), "inferred", _AUGUST)
    ),
    "cache_transceiver_config.max_tokens_in_buffer": _same(
        "cache_transceiver_config.max_tokens_in_buffer", ((1, 0), "inferred", _AUGUST)
    ),
    "load_format": _same("load_format", _BEFORE_1_0, _SINCE_1_0),
    "trust_remote_code": _same("trust_remote_code", _BEFORE_1_0, _SINCE_1_0),
    "env_overrides": _same(
        "env_overrides",
        ((1, 2), "inferred", "#9104; in the classes of early 2026, not in those of late 2025"),
    ),
}
"""Every option of the options file by its newest name, with its names from old to new."""

SWITCHED_ON: Mapping[str, tuple[Name, ...]] = {
    "torch_compile_config": _same("torch_compile_config", ((1, 0), "inferred", _AUGUST)),
}
"""Blocks of options that even an empty mapping switches on. An empty mapping of another block is the default:
cache_transceiver_config is off without a backend."""

NEWEST: Mapping[str, str] = {
    old: newest
    for newest, names in OPTIONS.items()
    for name in names
    for old in (name.name, name.also)
    if old not in {"", newest} and not name.null
}
"""The newest name of each option of the options file, by its older ones."""

VALUES: Mapping[str, Mapping[str, tuple[Version, Version | None]]] = {
    "moe_config.backend": {
        "AUTO": ((1, 2), None),
        "CUTLASS": ((0, 18), None),
        "TRTLLM": ((0, 18), None),
        "DEEPGEMM": ((1, 0), None),
        "WIDEEP": ((1, 0), (1, 3, 27)),
        "CUTEDSL": ((1, 0), None),
        "TRITON": ((1, 1), None),
        "VANILLA": ((0, 18), None),
        "DENSEGEMM": ((1, 3), None),
        "MARLIN": ((1, 3), None),
        "MEGAMOE_DEEPGEMM": ((1, 3), None),
        "MEGAMOE_CUTEDSL": ((1, 3, 27), None),
        "CUTEDSL_FC12": ((1, 4), None),
    },
    "kv_cache_config.dtype": {
        "auto": ((0, 18), None),
        "fp8": ((0, 18), None),
        "bfloat16": ((0, 18), (1, 3, 27)),
        "nvfp4": ((1, 1), None),
    },
}
"""Values of options with the first version that has them and the first that no longer does.

Read in argument classes of August and late 2025, of early and mid 2026 and of the autumn of 2026 (1.3.0rc27
by date), so each version is inferred; before 1.0 nothing was read. A value outside its versions is a warning.
"""

NOW_DEFAULT: tuple[tuple[Version, Mapping[str, bool]], ...] = (
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
            *("--tp", "--pp", "--max_batch_size", "--max_num_tokens", "--max_seq_len"),
            *("--kv_cache_free_gpu_mem_fraction", "--extra_llm_api_options", "--report_json"),
            "--iteration_log",
        )
    },
    "--ep": Name((0, 19), "--ep", "read", "throughput.py of April 2025; #3583: 0.18.1 has none"),
    "--eos_id": Name((0, 20), "--eos_id", "inferred", "#3776"),
    "--request_json": Name((1, 0), "--request_json", "read", "000a01de"),
    "--enable_chunked_context": Name((1, 0), "--enable_chunked_context", "read", "000a01de"),
    "--scheduler_policy": Name((1, 0), "--scheduler_policy", "read", "000a01de"),
    "--disable_chunked_context": Name((1, 1), "--disable_chunked_context", "read", "56851033"),
}
"""The options of ``trtllm-bench`` and its ``throughput`` that the engine may use."""


def version_text(version: Version) -> str:
    """Return a version as a person writes it: ``1.3`` or ``1.3.0rc27``."""
    major, minor, *candidate = version
    return f"{major}.{minor}" + "".join(f".0rc{number}" for number in candidate)
