"""The scenario schema: the one source of validation, of the JSON Schema and of docs/reference/scenario.md.

Every field's description is what a user reads in the reference page and in an editor. Options are written in
the terms of the newest TensorRT-LLM; the engine translates them into the dialect of the installed version.
What must hold between several values stands in :mod:`pytest_dsr1.scenario.rules.general`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from pytest_dsr1.scenario.schema.base import Part, Place, PositiveInt, VariableName
from pytest_dsr1.scenario.schema.gate import GateSettings
from pytest_dsr1.scenario.schema.load import Arrival, OpenAi, Slo
from pytest_dsr1.scenario.schema.metric_name import MetricName


class Hardware(Part):
    """The machine the targets were measured on. A machine that differs makes the run INVALID."""

    gpu: str | None = None
    """The exact name NVML gives the GPU, such as `NVIDIA H200` (which is not `NVIDIA H200 NVL`); none for a scenario that runs on the CPU."""  # noqa: E501
    count: Annotated[int, Field(ge=0)] = 0
    """How many of these GPUs the run uses."""
    min_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """The least memory of each GPU, in GiB."""
    min_driver: Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$")] | None = None
    """The oldest NVIDIA driver that can run the scenario, such as `575`."""


class GpuSetup(Part):
    """What the published procedure does to the GPUs; done only with `--dsr1-gpu-setup=apply`."""

    persistence: bool = False
    """Switch persistence mode off and on again, as `nvidia-smi -pm 0; nvidia-smi -pm 1` does."""
    vboost: Annotated[int, Field(ge=0)] | None = None
    """The value of `nvidia-smi boost-slider --vboost`."""
    lock_sm_clock_mhz: PositiveInt | None = None
    """Lock the SM clock to this many MHz. The published numbers were measured without a lock."""


class Validity(Part):
    """When a run proves nothing."""

    throttled_share: Annotated[float, Field(ge=0, le=1)] = 0.005
    """The share of the measured time for which a GPU may be thermally or hardware throttled."""
    software_power_cap: Literal["record", "invalid"] = "record"
    """The software power cap is normal at full load and only recorded; `invalid` condemns the run for it."""


class RandomWeights(Part):
    """A DeepSeek-V3-architecture model with random weights: nothing is downloaded."""

    seed: int = 0
    """The seed of the weights."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of Hugging Face's `DeepseekV3Config` that differ from DeepSeek-R1's own values."""


class Model(Part):
    """The checkpoint, or what stands in for it."""

    name: str
    """The Hugging Face name, such as `deepseek-ai/DeepSeek-R1`."""
    path: Place | None = None
    """The local folder of the checkpoint; checked before any GPU time is spent."""
    architecture: str = "DeepseekV3ForCausalLM"
    """What `architectures` in the checkpoint's config.json must say."""
    quantization: Literal["FP8_BLOCK_SCALES", "NVFP4", "none"] = "none"
    """The weights' quantization: `FP8_BLOCK_SCALES` (deepseek-ai/DeepSeek-R1), `NVFP4` (nvidia/DeepSeek-R1-FP4), or `none` (BF16 or FP32)."""  # noqa: E501
    kv_cache_quantization: Literal["FP8", "none"] = "none"
    """The KV cache's quantization that the checkpoint itself asks for."""
    random_weights: RandomWeights | None = None
    """Make the model here, with random weights, in the place of `path`."""


class Normal(Part):
    """Lengths drawn from a normal distribution, rounded up, at least 1."""

    mean: PositiveInt
    """Mean length in tokens."""
    stdev: Annotated[float, Field(ge=0)]
    """Standard deviation in tokens."""


class Uniform(Part):
    """Lengths drawn uniformly, both ends included."""

    minimum: PositiveInt
    """Shortest length in tokens."""
    maximum: PositiveInt
    """Longest length in tokens."""


def _kind_of_length(value: object) -> str:
    """Which form of a length was meant, so that a mistake in it is reported for that form alone."""
    if isinstance(value, Uniform) or (isinstance(value, dict) and {"minimum", "maximum"} & value.keys()):
        return "Uniform"
    return "Normal" if isinstance(value, dict | Normal) else "integer"


Length = Annotated[
    Annotated[PositiveInt, Tag("integer")]
    | Annotated[Normal, Tag("Normal")]
    | Annotated[Uniform, Tag("Uniform")],
    Discriminator(_kind_of_length),
]
"""The tags are the names the JSON Schema gives these forms."""


class Dataset(Part):
    """The requests: a JSONL file in trtllm-bench's format, or synthetic tokens."""

    path: Place | None = None
    """A JSONL file with one request a line (`task_id`, `input_ids` or `prompt`, `output_tokens`); without it synthetic tokens are made."""  # noqa: E501
    input_tokens: Length
    """Input length (ISL) in tokens: exact, or `{mean, stdev}`, or `{minimum, maximum}`. For a file: what its mean is expected to be."""  # noqa: E501
    output_tokens: Length
    """Output length (OSL) in tokens, likewise."""
    seed: int = 420
    """The seed of synthetic tokens and lengths."""
    vocab_size: Annotated[int, Field(ge=2)] = 129280
    """Synthetic token ids are drawn below this."""


class Load(Part):
    """How the requests are sent."""

    concurrency: PositiveInt
    """Requests in flight over the whole system. In an open loop the most there may be: one that is due then waits, and its waiting counts."""  # noqa: E501
    num_requests: PositiveInt
    """Requests that are measured; with `duration_s` the most there may be."""
    warmup_requests: Annotated[int, Field(ge=0)] = 0
    """Requests sent before the measurement and not counted."""
    arrival: Arrival | None = None
    """An open loop: requests come on a schedule, whatever the server does (`openai`). Without it the loop is closed: a request is sent when another has ended."""  # noqa: E501
    ramp_s: Annotated[float, Field(ge=0)] = 0.0
    """The first `concurrency` requests of a closed loop start evenly over so many seconds (`openai`)."""
    duration_s: Annotated[float, Field(gt=0)] | None = None
    """No request is sent later than this; those in flight are awaited (`openai`)."""
    tolerated_failures: Annotated[int, Field(ge=0)] = 0
    """Requests that may fail without making the run INVALID; they count in no metric but goodput."""


class CudaGraphConfig(Part):
    """CUDA graphs of the decode step."""

    batch_sizes: list[PositiveInt] | None = None
    """The batch sizes to capture."""
    max_batch_size: PositiveInt | None = None
    """Capture up to this batch size; must agree with `batch_sizes`."""
    enable_padding: bool | None = None
    """Pad a batch up to the next captured size."""


class MoeConfig(Part):
    """The mixture-of-experts layers."""

    backend: Literal["CUTLASS", "TRTLLM", "DEEPGEMM", "WIDEEP", "CUTEDSL", "TRITON", "VANILLA"] | None = None
    """The kernel library of the experts."""
    max_num_tokens: PositiveInt | None = None
    """The most tokens one MoE call takes."""


class KvCacheConfig(Part):
    """The KV cache."""

    dtype: Literal["auto", "fp8", "bfloat16"] | None = None
    """The element type of the cache."""
    free_gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the memory left after the weights that the cache takes."""
    enable_block_reuse: bool | None = None
    """Reuse blocks of equal prefixes; off in every published measurement."""
    max_tokens: PositiveInt | None = None
    """The most tokens the cache holds."""


class SpeculativeConfig(Part):
    """Multi-token prediction."""

    decoding_type: Literal["MTP"]
    """The way of speculation."""
    max_draft_len: PositiveInt
    """Draft tokens a step (`num_nextn_predict_layers` before 1.3)."""
    use_relaxed_acceptance_for_thinking: bool | None = None
    """Accept a draft token among the most likely ones while the model thinks."""
    relaxed_topk: PositiveInt | None = None
    """How many candidates relaxed acceptance looks at."""
    relaxed_delta: Annotated[float, Field(ge=0)] | None = None
    """How far below the most likely candidate it may be."""


class AttentionDpConfig(Part):
    """Scheduling across attention data-parallel ranks."""

    enable_balance: bool | None = None
    """Balance requests over the ranks."""
    batching_wait_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations to wait for a fuller batch."""
    timeout_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations after which a rank stops waiting."""


class LlmApiOptions(Part):
    """Options of TensorRT-LLM's LLM API, in the newest version's terms (the file of `--extra_llm_api_options`)."""  # noqa: E501

    enable_attention_dp: bool | None = None
    """Attention data parallelism: each rank serves its own requests."""
    attention_dp_config: AttentionDpConfig | None = None
    """Scheduling of attention data parallelism."""
    cuda_graph_config: CudaGraphConfig | None = None
    """CUDA graphs of the decode step."""
    moe_config: MoeConfig | None = None
    """The mixture-of-experts layers."""
    kv_cache_config: KvCacheConfig | None = None
    """The KV cache; give all of `free_gpu_memory_fraction` and `enable_block_reuse: false` with any of its keys, since older versions replace the block whole."""  # noqa: E501
    speculative_config: SpeculativeConfig | None = None
    """Multi-token prediction."""
    print_iter_log: bool | None = None
    """Log a line for every iteration; throughput over time is read from it."""
    stream_interval: PositiveInt | None = None
    """Iterations between two streamed chunks."""
    disable_overlap_scheduler: bool | None = None
    """Switch the overlap scheduler off (on by default)."""
    enable_iter_perf_stats: bool | None = None
    """Collect iteration statistics; costs time."""
    allreduce_strategy: str | None = None
    """How partial results are summed over GPUs."""
    enable_autotuner: bool | None = None
    """Tune kernels at start."""
    enable_min_latency: bool | None = None
    """The engine's minimum-latency mode."""


class TensorRtLlm(Part):
    """What every engine that runs TensorRT-LLM takes."""

    type: str
    """The engine."""
    dialect: str | None = None
    """The TensorRT-LLM version whose names are used, such as `1.2`; by default the installed one's."""
    tp: PositiveInt = 1
    """Tensor parallelism."""
    pp: PositiveInt = 1
    """Pipeline parallelism."""
    ep: PositiveInt | None = None
    """Expert parallelism; divides `tp`."""
    max_batch_size: PositiveInt | None = None
    """The most requests in one step, per rank."""
    max_num_tokens: PositiveInt | None = None
    """The most tokens in one step, per rank."""
    max_seq_len: PositiveInt | None = None
    """The longest sequence; by default the dataset's longest."""
    kv_cache_free_gpu_mem_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of free memory that the KV cache takes (0.9 by default)."""
    enable_chunked_context: bool = False
    """Split long inputs over steps. Off in every published measurement, on by default since 1.1."""
    eos_id: Annotated[int, Field(ge=-1)] = -1
    """The end token; -1 forces exact output lengths, as every published measurement did."""
    streaming: bool = False
    """Stream the answers, which gives TTFT and TPOT. Off in every published measurement."""
    llm_api: LlmApiOptions = Field(default_factory=LlmApiOptions)
    """Options of the LLM API."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variables of the engine's process."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """The longest time to the first measured request, in seconds; weights can load silently for 25 minutes."""  # noqa: E501
    run_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The longest measured time in seconds; by default three times the plan plus 10 minutes."""


class TrtllmBench(TensorRtLlm):
    """NVIDIA's `trtllm-bench throughput`, run as a child process with the published options."""

    type: Literal["trtllm-bench"]
    """NVIDIA's benchmark command."""
    command: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: ["trtllm-bench"])
    """The program, with an optional prefix such as `[srun, --mpi=pmix, trtllm-llmapi-launch, trtllm-bench]`."""  # noqa: E501
    scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    """The capacity scheduler."""
    request_records: bool | None = None
    """Ask for a record of each request (`--request_json`, which decodes every answer); by default up to 20 million output tokens."""  # noqa: E501


class Trtllm(TensorRtLlm):
    """TensorRT-LLM's LLM API in a child process of ours: records of every request, early verdicts."""

    type: Literal["trtllm"]
    """`tensorrt_llm.LLM` of this Python environment (1.0 or newer)."""
    request_timings: bool = False
    """Ask for each request's times inside the engine (`return_perf_metrics`), which tell its queue from its prefill."""  # noqa: E501


class Transformers(Part):
    """The embedded engine: a small DeepSeek-V3-architecture model on Hugging Face transformers."""

    type: Literal["transformers"]
    """Hugging Face transformers, in a child process."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it runs; `cuda` is one GPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The weights' element type."""
    compile: bool = False
    """Static cache and compiled decode step (one GPU)."""
    threads: PositiveInt | None = None
    """CPU threads; by default as many as the process may use."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    """The longest time to the first measured request, in seconds."""
    run_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The longest measured time in seconds; by default three times the plan plus 10 minutes."""


Engine = Annotated[TrtllmBench | Trtllm | Transformers | OpenAi, Field(discriminator="type")]


class Target(Part):
    """One performance the machine must deliver; becomes one test."""

    metric: MetricName
    """What is judged."""
    value: Annotated[float, Field(gt=0)]
    """The expected value, in the metric's unit."""
    tolerance_percent: Annotated[float, Field(ge=0, lt=100)] = 5.0
    """How much worse than `value` still passes, in percent."""
    note: str | None = None
    """Where the value comes from."""


class Published(Part):
    """One set of published results, kept for reference; never judged."""

    version: str
    """Which publication, and when."""
    note: str | None = None
    """What was different, or what the numbers mean."""
    values: dict[MetricName, Annotated[float, Field(gt=0)]]
    """The published values, in each metric's unit."""


class Source(Part):
    """Where the scenario's settings come from."""

    document: str
    """The publication."""
    commit: str | None = None
    """Its commit."""
    notes: list[str] = Field(default_factory=list)
    """What was changed or added, and why."""


class Scenario(Part):
    """What DeepSeek-R1 performance a machine must deliver, and how it is measured."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """The profile's name; unique. What `--dsr1-profile` selects."""
    description: str
    """One sentence for `--dsr1-list`."""
    source: Source | None = None
    """Where the settings come from."""
    hardware: Hardware
    """The machine."""
    gpu_setup: GpuSetup = Field(default_factory=GpuSetup)
    """What set-up does to the GPUs."""
    validity: Validity = Field(default_factory=Validity)
    """When a run proves nothing."""
    model: Model
    """The checkpoint."""
    dataset: Dataset
    """The requests."""
    load: Load
    """How they are sent."""
    engine: Engine
    """What runs the inference."""
    slo: Slo | None = None
    """The service level of `goodput`."""
    targets: Annotated[list[Target], Field(min_length=1)]
    """What must be reached; each becomes a test `target[metric]`."""
    gate: GateSettings = Field(default_factory=GateSettings)
    """The comparison with accepted references."""
    published: list[Published] = Field(default_factory=list)
    """Published results."""

    @property
    def gated_metric(self) -> str:
        """The name of the metric that `--dsr1-gate` judges."""
        name: str = self.gate.metric or self.targets[0].metric
        return name
