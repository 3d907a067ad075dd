"""The arguments of ``tensorrt_llm.LLM`` for a scenario, so that it runs the same as trtllm-bench.

trtllm-bench fills in options that its user leaves open, and so do we: KV blocks are not reused, CUDA graphs
are padded and captured up to the batch size, and nothing is detokenized (throughput.py 56851033, general.py
c0b2ee6e). trtllm-bench chooses ``max_batch_size`` and ``max_num_tokens`` by heuristics. Here the LLM API
chooses them, unless the scenario has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.tensorrt_llm.llm_api.job import TrtllmJob
from pytest_dsr1.engines.tensorrt_llm.settings import Trtllm
from pytest_dsr1.engines.trtllm_options.answers import DEFAULT_MEMORY_FRACTION
from pytest_dsr1.engines.trtllm_options.defaults import Asked
from pytest_dsr1.engines.trtllm_options.dialects import Dialect, cannot_express, inexpressible, translate
from pytest_dsr1.engines.trtllm_options.options import CudaGraphConfig, KvCacheConfig, LlmApiOptions
from pytest_dsr1.errors import UserError
from pytest_dsr1.workload.deepseek import FP8_BLOCK_SCALES, config_problems, resolve_config

MODEL_FOLDER = "model"
"""The folder for the configuration of random weights, in the job's folder."""
OLDEST = (1, 0)
"""The first version with a stable LLM API that runs PyTorch."""


def filled(engine: Trtllm) -> LlmApiOptions:
    """Return the scenario's options of the LLM API, with the ones that trtllm-bench would fill in."""
    options = engine.llm_api
    fraction = engine.kv_cache_free_gpu_mem_fraction or DEFAULT_MEMORY_FRACTION
    cache: dict[str, Any] = {"free_gpu_memory_fraction": fraction, "enable_block_reuse": False}
    if options.kv_cache_config:
        cache |= options.kv_cache_config.model_dump(exclude_none=True)
    graphs = _graphs(options.cuda_graph_config, engine.max_batch_size)
    return options.model_copy(update={"kv_cache_config": KvCacheConfig(**cache), "cuda_graph_config": graphs})


def asked(engine: Trtllm) -> Asked:
    """Return what the scenario asks of TensorRT-LLM, with what is filled in."""
    return Asked(filled(engine), engine.environment, engine.max_batch_size)


def _graphs(asked: CudaGraphConfig | None, max_batch_size: int | None) -> CudaGraphConfig:
    """Return the CUDA graphs of trtllm-bench, which captures up to its batch size unless sizes are given."""
    if asked and (asked.enabled is False or asked.batch_sizes or asked.max_batch_size):
        return asked
    padding = True if asked is None or asked.enable_padding is None else asked.enable_padding
    return CudaGraphConfig(enable_padding=padding, max_batch_size=max_batch_size)


def worker_job(job: Job, dialect: Dialect) -> TrtllmJob:
    """Return the part of a job that the worker needs.

    Raises:
        UserError: the version is too old, or does not have some of the scenario's options, or no model can
            have the configuration of the random weights.
    """
    scenario, engine = job.scenario, Trtllm.of(job.scenario)
    if dialect.version < OLDEST:
        raise UserError(
            f"{scenario.name}: the engine trtllm needs TensorRT-LLM 1.0 or newer, found {dialect}; use "
            "`engine.type: trtllm-bench`, or a newer TensorRT-LLM"
        )
    if problems := inexpressible(engine.llm_api, dialect):
        raise cannot_express(scenario.name, dialect, problems)
    random, path = scenario.model.random_weights, scenario.model.path
    if random and (wrong := config_problems(resolve_config(random.config))):
        raise UserError(f"{scenario.name}: model.random_weights.config: {'; '.join(wrong)}")
    folder = str(job.artifacts.absolute() / MODEL_FOLDER) if path is None else _absolute(path)
    arguments: dict[str, Any] = {
        "model": folder,
        "skip_tokenizer_init": True,
        "trust_remote_code": True,
        "tensor_parallel_size": engine.tp,
        "pipeline_parallel_size": engine.pp,
        "moe_expert_parallel_size": engine.ep,
        "max_batch_size": engine.max_batch_size,
        "max_num_tokens": engine.max_num_tokens,
        "max_seq_len": engine.max_seq_len,
        "enable_chunked_prefill": engine.chunks,
        "load_format": "dummy" if random else None,
    }
    return TrtllmJob(
        arguments={name: value for name, value in arguments.items() if value is not None},
        options=translate(filled(engine), dialect),
        dialect=f"{dialect} ({dialect.evidence})",
        dataset=str(job.workload.path.absolute()),
        num_requests=job.workload.requests,
        draft_tokens=engine.draft_tokens,
        tokenizer=None if random else folder,
        end_id=engine.eos_id,
        streaming=engine.streaming,
        request_timings=engine.request_timings,
        iteration_stats=bool(engine.llm_api.enable_iter_perf_stats),
    )


def _absolute(path: str) -> str:
    """Return an absolute path, because the worker has its own folder; leave one with ``${VARIABLE}``."""
    return path if path.startswith("${") else str(Path(path).absolute())


def write_model(job: Job) -> None:
    """Write the config.json of a model with random weights; do nothing for a checkpoint."""
    model = job.scenario.model
    if model.random_weights is None:
        return
    folder = job.artifacts / MODEL_FOLDER
    folder.mkdir()
    config: dict[str, Any] = {
        "architectures": [model.architecture],
        "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16",
        **resolve_config(model.random_weights.config),
    }
    if model.quantization == "FP8_BLOCK_SCALES":
        config.setdefault("quantization_config", FP8_BLOCK_SCALES)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
