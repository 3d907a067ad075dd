"""The scenario schema: the one source of validation, of the JSON Schema and of docs/reference/scenario.md.

Every field's description is what a user reads in the reference page and in an editor. Options are written in
the terms of the newest TensorRT-LLM; the engine translates them into the dialect of the installed version.
What must hold between several values stands in :mod:`pytest_dsr1.scenario.rules.general`, and for one
engine in that engine's folder, as its settings do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from pytest_dsr1 import extensions
from pytest_dsr1.scenario.schema.base import Part, Place, PositiveInt
from pytest_dsr1.scenario.schema.engine import Engine
from pytest_dsr1.scenario.schema.load import Arrival, Slo
from pytest_dsr1.scenario.schema.metric_name import GatedMetricName, MetricName

LARGEST_DELTA_PERCENT = 50


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


class GateSettings(Part):
    """The comparison with accepted references, by `--dsr1-gate`."""

    metric: GatedMetricName | None = None
    """What is gated; by default the metric of the first target."""
    delta_percent: Annotated[float, Field(gt=0, le=LARGEST_DELTA_PERCENT)] = 2.0
    """The loss that must not be missed, in percent of the references' mean."""
    presumed_noise_percent: Annotated[float, Field(gt=0, le=50)] = 1.0
    """The standard deviation between engine starts that is presumed while there are no references, in percent."""  # noqa: E501
    max_runs: Annotated[int, Field(ge=2, le=100)] = 64
    """The most engine starts of one gate; undecided after them is INCONCLUSIVE."""
    warmup_requests: PositiveInt | None = None
    """Measured requests at the start of a run that are never evidence; by default `load.concurrency`. What else is warm-up is found by MSER-5."""  # noqa: E501
    under_test: dict[str, bool] = Field(default_factory=dict)
    """Facts of the fingerprint (`*` stands for any text) that may differ from the references (`true`) or must not (`false`), where that is not the default."""  # noqa: E501


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

    model_config = ConfigDict(defer_build=True)  # the engines are known when the first scenario is read

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


def _with_all_engines() -> None:
    """Make the schema anew where it was made before another engine was registered."""
    if Scenario.__pydantic_complete__:
        Scenario.model_rebuild(force=True)


extensions.on_change(_with_all_engines)
