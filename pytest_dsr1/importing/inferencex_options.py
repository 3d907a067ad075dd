"""The server options of InferenceX's DeepSeek-R1 runs with TensorRT-LLM.

Its entries say only the parallelism: the options are decided by a script per precision, GPU and speculation,
benchmarks/single_node/fixed_seq_len/dsr1_{fp4_b200,fp8_b200,fp8_h200}_trt{,_mtp}.sh, read at commit 843c6254.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a search space."""

    isl: int
    osl: int
    tp: int
    ep: int
    dp_attention: bool
    concurrency: int

    def lengths_are(self, isl: int, osl: int) -> bool:
        """Return whether the nominal lengths are these."""
        return (self.isl, self.osl) == (isl, osl)

    @property
    def longest(self) -> int:
        """MAX_MODEL_LEN of its scripts (utils/matrix_logic/generate_sweep_configs.py)."""
        return self.isl + self.osl + 256


@dataclass(slots=True)
class Script:
    """What a script decides for a point."""

    moe_backend: str
    graphs: int
    kv_fraction: float
    max_num_tokens: int
    max_seq_len: int
    max_batch_size: int | None = None
    draft_tokens: int = 0
    piecewise_graphs: bool = False
    last_size: bool = True
    delays_batches: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def options(self, point: Point) -> dict[str, Any]:
        """Return the options file and the options of the command line together."""
        found: dict[str, Any] = {
            "tensor_parallel_size": point.tp,
            "moe_expert_parallel_size": point.ep,
            "max_num_tokens": self.max_num_tokens,
            "max_seq_len": self.max_seq_len,
            "trust_remote_code": True,
            "cuda_graph_config": {"enable_padding": True, "max_batch_size": self.graphs},
            "enable_attention_dp": point.dp_attention,
            "print_iter_log": True,
            "kv_cache_config": {
                "dtype": "fp8",
                "free_gpu_memory_fraction": self.kv_fraction,
                "enable_block_reuse": False,
            },
            "stream_interval": 10,
            "moe_config": {"backend": self.moe_backend},
        }
        if self.max_batch_size is not None:
            found["max_batch_size"] = self.max_batch_size
        if self.draft_tokens:
            found["speculative_config"] = {"decoding_type": "MTP", "max_draft_len": self.draft_tokens}
        if point.dp_attention:
            found["attention_dp_config"] = {
                "batching_wait_iters": 0,
                "enable_balance": True,
                "timeout_iters": 60,
            }
        if self.delays_batches:
            found |= {"batch_wait_timeout_iters": 40, "batch_wait_max_tokens_ratio": 0.8}
        if self.piecewise_graphs:
            found["torch_compile_config"] = {
                "capture_num_tokens": self._captured(),
                "enable_piecewise_cuda_graph": True,
            }
        return found

    def _captured(self) -> list[int]:
        """Return the numbers of tokens to capture: powers of 2 to 128, then steps of 256."""
        sizes = [2**power for power in range(8)] + list(range(256, self.max_num_tokens + 1, 256))
        return [*sizes, self.max_num_tokens] if self.last_size and self.max_num_tokens % 256 else sizes


def _step_tokens(point: Point, per_step: int) -> int:
    """Return the most tokens of a step: the input, ``per_step`` and 64, rounded up to a multiple of 64."""
    return (per_step + point.isl + 64 + 63) // 64 * 64


def _share(point: Point, ranks: int) -> int:
    """Return the requests of one rank with attention data parallelism."""
    if not point.dp_attention or point.concurrency < ranks:
        return point.concurrency
    return point.concurrency // ranks


def _without_mtp(point: Point, moe_backend: str, graphs: int, kv_fraction: float) -> Script:
    tokens = max(_step_tokens(point, point.concurrency), 8192)
    return Script(moe_backend, graphs, kv_fraction, tokens, max(point.longest, 8192))


def _fp4_b200(point: Point) -> Script:
    script = _without_mtp(point, "CUTLASS" if point.dp_attention else "TRTLLM", _share(point, 4), 0.8)
    script.piecewise_graphs = point.lengths_are(1024, 1024) and point.tp == point.ep == 8
    script.last_size = False
    return script


def _fp8_b200(point: Point) -> Script:
    many = point.concurrency >= 64
    small = point.lengths_are(8192, 1024) and point.tp == 4
    script = _without_mtp(point, "TRTLLM", point.concurrency, 0.75 if small else 0.8)
    script.piecewise_graphs = many and (point.lengths_are(1024, 1024) or point.lengths_are(8192, 1024))
    script.delays_batches = many and point.lengths_are(1024, 1024)
    script.environment["TLLM_OVERRIDE_LAYER_NUM"] = "61"
    return script


def _fp8_h200(point: Point) -> Script:
    script = _without_mtp(point, "CUTLASS", 128, 0.75)
    script.environment["PYTHONNOUSERSITE"] = "1"
    return script


def _with_mtp(point: Point, moe_backend: str, batch: int, graphs: int, kv_fraction: float) -> Script:
    drafts = 1 if point.dp_attention else 3
    tokens = _step_tokens(point, (drafts + 1) * batch)
    return Script(moe_backend, graphs, kv_fraction, tokens, point.longest, batch, drafts)


def _fp4_b200_mtp(point: Point) -> Script:
    batch = _share(point, 4)
    script = _with_mtp(point, "CUTLASS" if point.dp_attention else "TRTLLM", batch, batch, 0.8)
    sizes = {32, 64} if point.dp_attention else {32, 64, 128}
    script.piecewise_graphs = point.lengths_are(1024, 1024) and point.concurrency in sizes
    return script


def _fp8_b200_mtp(point: Point) -> Script:
    batch = _share(point, 8)
    if point.dp_attention:
        script = _with_mtp(point, "DEEPGEMM", batch, batch, 0.7)
        script.environment["ENABLE_CONFIGURABLE_MOE"] = "1"
        return script
    script = _with_mtp(point, "TRTLLM", batch, batch, 0.8)
    few = 4 if point.lengths_are(1024, 1024) else 16 if point.lengths_are(8192, 1024) else 0
    script.piecewise_graphs = point.concurrency > few
    return script


def _fp8_h200_mtp(point: Point) -> Script:
    batch = max(point.concurrency // point.tp, 1) if point.dp_attention else point.concurrency
    script = _with_mtp(point, "CUTLASS", batch, 128, 0.75)
    script.environment["PYTHONNOUSERSITE"] = "1"
    if point.isl == 8192 and point.dp_attention:
        script.environment["PYTORCH_CUDA_ALLOC_CONF"] = "max_split_size_mb:8192"
    return script


SCRIPTS: Mapping[tuple[str, str, bool], Callable[[Point], Script]] = {
    ("fp4", "b200", False): _fp4_b200,
    ("fp4", "b200", True): _fp4_b200_mtp,
    ("fp8", "b200", False): _fp8_b200,
    ("fp8", "b200", True): _fp8_b200_mtp,
    ("fp8", "h200", False): _fp8_h200,
    ("fp8", "h200", True): _fp8_h200_mtp,
}
"""By precision, runner, and whether MTP is on."""
