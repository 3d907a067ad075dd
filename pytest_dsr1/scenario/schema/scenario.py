"""The scenario schema: the one source of validation, of the JSON Schema and of docs/reference/scenario.md.

Users read the docstring of each field in the reference page and in an editor. Rules between several values
are in :mod:`pytest_dsr1.scenario.rules.general`. The settings and rules of one engine are in that engine's
folder.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag, WithJsonSchema

from pytest_dsr1 import extensions
from pytest_dsr1.scenario.schema.accuracy import Accuracy
from pytest_dsr1.scenario.schema.base import NAME, WORDS, ExpandedStr, Part, PositiveInt
from pytest_dsr1.scenario.schema.deepseek_r1 import VOCAB_SIZE
from pytest_dsr1.scenario.schema.engine import Engine
from pytest_dsr1.scenario.schema.load import Arrival, Slo
from pytest_dsr1.scenario.schema.metric_name import GatedMetricName, MetricName
from pytest_dsr1.scenario.schema.search import Search
from pytest_dsr1.scenario.schema.sweep import Frontier, Point, Sweep

LARGEST_DELTA_PERCENT = 50


class Hardware(Part):
    """The machine on which the targets were measured. A different machine makes the run INVALID."""

    gpu: str | None = None
    """The exact GPU name that NVML reports, such as `NVIDIA H200` (which is not `NVIDIA H200 NVL`); omit it for a scenario on the CPU."""  # noqa: E501
    count: Annotated[int, Field(ge=0)] = 0
    """The number of these GPUs that the run uses, on all nodes together."""
    nodes: PositiveInt = 1
    """The number of machines over which these GPUs are spread, evenly or with `engine.disaggregated` by server; more than one need a Slurm allocation."""  # noqa: E501
    min_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """The minimum memory of each GPU, in GiB."""
    min_driver: Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$")] | None = None
    """The oldest NVIDIA driver that can run the scenario, such as `575`."""
    gpu_hour_price: Annotated[float, Field(gt=0)] | None = None
    """The price of one GPU for one hour, in any currency, for `cost_per_million_output_tokens`. For all scenarios of a run: `--dsr1-set hardware.gpu_hour_price=2.5`."""  # noqa: E501

    @property
    def words(self) -> str:
        """The GPUs in words, such as ``16 x NVIDIA B200 on 2 nodes``."""
        if self.gpu is None:
            return "CPU"
        return f"{self.count} x {self.gpu}{f' on {self.nodes} nodes' if self.nodes > 1 else ''}"


class GpuSetup(Part):
    """GPU settings of the published procedure; changed only with `--dsr1-gpu-setup=apply`."""

    persistence: bool = False
    """Switch persistence mode off and on again, as `nvidia-smi -pm 0; nvidia-smi -pm 1` does."""
    vboost: Annotated[int, Field(ge=0)] | None = None
    """The value of `nvidia-smi boost-slider --vboost`."""
    lock_sm_clock_mhz: PositiveInt | None = None
    """Lock the SM clock to this frequency in MHz. The published numbers were measured without a lock."""


class Validity(Part):
    """Conditions that make a run INVALID."""

    throttled_share: Annotated[float, Field(ge=0, le=1)] = 0.005
    """The largest share of the measured time that a GPU may be throttled by heat or hardware."""
    software_power_cap: Literal["record", "invalid"] = "record"
    """`record` only records the software power cap, which is normal at full load; `invalid` makes the run INVALID if the cap was active."""  # noqa: E501


class RandomWeights(Part):
    """A model of the DeepSeek-V3 architecture with random weights: nothing is downloaded."""

    seed: int = 0
    """The seed of the weights."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of Hugging Face's `DeepseekV3Config` that differ from DeepSeek-R1's own values."""


def _in_capitals(name: str) -> str:
    """Return the name as checkpoints write it; ours for none is in small letters."""
    return "none" if name.lower() == "none" else name.upper()


Quantization = Annotated[str, StringConstraints(min_length=1), AfterValidator(_in_capitals)]
"""A name that is compared with the checkpoint's. Only bounds need to know what it means."""


class Model(Part):
    """The checkpoint, or random weights instead."""

    name: str
    """The Hugging Face name, such as `deepseek-ai/DeepSeek-R1`."""
    path: ExpandedStr | None = None
    """The local folder of the checkpoint; checked before any GPU time is spent."""
    architecture: str = "DeepseekV3ForCausalLM"
    """The architecture that `architectures` in the checkpoint's config.json must name."""
    quantization: Quantization = "none"
    """The quantization of the weights that the checkpoint names, such as `FP8_BLOCK_SCALES` (deepseek-ai/DeepSeek-R1), `NVFP4` (nvidia/DeepSeek-R1-FP4) or `MIXED_PRECISION`; `none` for BF16 or FP32."""  # noqa: E501
    kv_cache_quantization: Quantization = "none"
    """The quantization of the KV cache that the checkpoint names, such as `FP8` or `none`."""
    random_weights: RandomWeights | None = None
    """Make a model with random weights instead of reading `path`."""


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
    """Return the form of a length that was meant, so that a mistake in it is reported for that form alone."""
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

    path: ExpandedStr | None = None
    """A JSONL file with one request per line (`task_id`, `input_ids` or `prompt`, `output_tokens`); without it, synthetic tokens are made."""  # noqa: E501
    input_tokens: Length
    """Input length (ISL) in tokens: exact, or `{mean, stdev}`, or `{minimum, maximum}`. For a file: its expected mean."""  # noqa: E501
    output_tokens: Length
    """Output length (OSL) in tokens, in the same forms."""
    seed: int = 420
    """The seed of synthetic tokens and lengths."""
    vocab_size: Annotated[int, Field(ge=2)] = VOCAB_SIZE
    """Synthetic token ids are smaller than this."""


def _kind_of_concurrency(value: object) -> str:
    """Return the form of a concurrency that was meant."""
    return "string" if value == "all" else "integer"


Concurrency = Annotated[
    Annotated[PositiveInt, Tag("integer")] | Annotated[Literal["all"], Tag("string")],
    Discriminator(_kind_of_concurrency),
]


class Load(Part):
    """How the requests are sent."""

    concurrency: Concurrency
    """Requests in flight over the whole system; `all` sends every request at once, as `trtllm-bench` does without `--concurrency`. In an open loop this is the maximum: when it is reached, a request that is due waits, and the wait counts toward its latency; `all` sets no maximum."""  # noqa: E501
    num_requests: Annotated[
        PositiveInt,
        WithJsonSchema(
            {
                "oneOf": [
                    {"type": "integer", "minimum": 1},
                    {
                        "type": "string",
                        "pattern": r"^[1-9][0-9]* x load\.concurrency$",
                        WORDS: "text such as `5 x load.concurrency`",
                    },
                ]
            }
        ),
    ]
    """The number of measured requests, or a multiple such as `5 x load.concurrency`; with `duration_s`, the largest number."""  # noqa: E501
    warmup_requests: Annotated[int, Field(ge=0)] = 0
    """Requests sent before the measurement and not counted."""
    arrival: Arrival | None = None
    """An open loop: requests come on a schedule, even if the server is slow. Without it the loop is closed: a request is sent when another one ends."""  # noqa: E501
    ramp_s: Annotated[float, Field(ge=0)] = 0.0
    """The first `concurrency` requests of a closed loop start evenly over this many seconds."""
    duration_s: Annotated[float, Field(gt=0)] | None = None
    """After this many seconds no request is sent; the run waits for those in flight."""
    tolerated_failures: Annotated[int, Field(ge=0)] = 0
    """The number of requests that may fail without making the run INVALID; they count in no metric except goodput."""  # noqa: E501

    @property
    def limited(self) -> bool:
        """Whether anything limits the requests in flight."""
        return self.concurrency != "all"

    @property
    def floods(self) -> bool:
        """Whether every request is sent at once, so that a queue is wanted."""
        return self.arrival is None and not self.limited

    @property
    def at_once(self) -> int:
        """The most requests in flight at the same time."""
        return self.num_requests if self.concurrency == "all" else self.concurrency


class Speculation(Part):
    """Speculative decoding that is fixed on purpose, such as NVIDIA's and InferenceX's runs."""

    acceptance_length: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Force this acceptance length: tokens per request in a decoding step, the metric `acceptance_length`. The engine then accepts as many draft tokens, whatever the text."""  # noqa: E501


class Target(Part):
    """One performance figure that the machine must reach; it becomes one test."""

    metric: MetricName
    """The metric that is judged."""
    value: Annotated[float, Field(gt=0)]
    """The expected value, in the metric's unit."""
    tolerance_percent: Annotated[float, Field(ge=0, lt=100)] = 5.0
    """A result passes if it is worse than `value` by at most this many percent."""
    note: str | None = None
    """The source of the value."""
    at: dict[str, Any] | None = None
    """In a sweep: the points that the target is for, as swept keys with their values, such as `{load.concurrency: 64}`; by default all points."""  # noqa: E501


class GateSettings(Part):
    """The comparison with accepted references, by `--dsr1-gate`."""

    metric: GatedMetricName | None = None
    """The gated metric; by default that of the first target, without targets that of `search`. Without either it is needed."""  # noqa: E501
    delta_percent: Annotated[float, Field(gt=0, le=LARGEST_DELTA_PERCENT)] = 2.0
    """The loss that the gate must detect, as a percentage of the references' mean."""
    presumed_noise_percent: Annotated[float, Field(gt=0, le=50)] = 1.0
    """The assumed standard deviation between engine starts while there are no references, in percent."""
    max_runs: Annotated[int, Field(ge=2, le=100)] = 64
    """The most engine starts of one gate; a gate that is undecided after them is INCONCLUSIVE."""
    warmup_requests: PositiveInt | None = None
    """The number of requests at the start of the measurement that a gate always ignores; by default `load.concurrency`, or a tenth of the requests if that is `all`. MSER-5 can find more warm-up after these."""  # noqa: E501
    under_test: dict[str, bool] = Field(default_factory=dict)
    """Overrides which fingerprint facts must equal the references: `true` if the fact may differ, `false` if it must not. `*` matches any text."""  # noqa: E501


class Published(Part):
    """One set of published results, kept for information; never judged."""

    version: str
    """The publication and its date."""
    model: str | None = None
    """The model that was measured; by default the `model.name` of the file with these results, or of what it extends."""  # noqa: E501
    gpu: str | None = None
    """Its GPU; by default `hardware.gpu` of the same file."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """How many; by default `hardware.count` of the same file."""
    note: str | None = None
    """What was different, or what the numbers mean."""
    at: dict[str, Any] | None = None
    """In a sweep: the points that the results are of, as in a target."""
    changed: list[str] | None = None
    """The keys of the load and the options that have other values here than where the results were published. pytest-dsr1 adds those that `--dsr1-set` changes, or a file that extends the one with the results."""  # noqa: E501
    values: dict[MetricName, Annotated[float, Field(gt=0)]]
    """The published values, in each metric's unit."""


class Source(Part):
    """The source of the scenario's settings."""

    document: str
    """The publication."""
    commit: str | None = None
    """Its commit."""
    notes: list[str] = Field(default_factory=list)
    """Changes and additions, with their reasons."""


class Scenario(Part):
    """The DeepSeek-R1 performance that a machine must deliver, and how it is measured."""

    model_config = ConfigDict(defer_build=True)  # the engines are known when the first scenario is read

    name: Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
    """The unique name of the profile, for `--dsr1-profile`."""
    description: str
    """One sentence for `--dsr1-list`."""
    source: Source | None = None
    """The source of the settings."""
    hardware: Hardware
    """The machine."""
    gpu_setup: GpuSetup = Field(default_factory=GpuSetup)
    """GPU settings for the run."""
    validity: Validity = Field(default_factory=Validity)
    """Conditions that make a run INVALID."""
    model: Model
    """The checkpoint."""
    dataset: Dataset
    """The requests."""
    load: Load
    """How the requests are sent."""
    engine: Engine
    """The software that runs the inference."""
    speculation: Speculation | None = None
    """Speculative decoding that is fixed on purpose: synthetic tokens are then right, and no figure is comparable with one of natural acceptance."""  # noqa: E501
    slo: Slo | None = None
    """The service level of `goodput`."""
    accuracy: Accuracy | None = None
    """Questions that the engine answers after the measured part, never during it. Wrong answers fail a test of their own, not a target."""  # noqa: E501
    targets: list[Target] = Field(default_factory=list)
    """The performance that must be reached; each target becomes a test `target[metric]`. Without targets one test, `measured`, passes if the run is valid, and the verdict is MEASURED."""  # noqa: E501
    gate: GateSettings = Field(default_factory=GateSettings)
    """The comparison with accepted references."""
    published: list[Published] = Field(default_factory=list)
    """Published results."""
    sweep: Sweep = None
    """Make a scenario of each point: dotted keys of `dataset`, `engine`, `gpu_setup`, `load`, `speculation`, or `hardware.count`, each with a list of values (all combinations run), or a list of points, each of which may have a `label`."""  # noqa: E501
    frontier: list[Frontier] = Field(default_factory=list)
    """The figures that the curve of the sweep must reach."""
    search: Search | None = None
    """Look for the highest load that keeps a service level."""
    point: Point | None = None
    """The point of a sweep, or the probe of a search, that the scenario is; pytest-dsr1 writes it into results."""  # noqa: E501
    probe: bool = False
    """Measure what the GPUs can do, before the engine starts and after it has ended, as `--dsr1-probe`."""

    @property
    def gpus_by_node(self) -> tuple[int, ...]:
        """How many GPUs it uses on each node, in the order of the nodes."""
        return self.engine.gpus_by_node(self.hardware.count, self.hardware.nodes)

    @property
    def machine(self) -> str:
        """Hardware and engine in a few words, and what is forced."""
        return ", ".join(filter(None, [self.hardware.words, f"engine {self.engine.type}", self.forced]))

    @property
    def forced(self) -> str:
        """What must be shown next to every figure, such as ``acceptance length 2.4 forced``; else empty."""
        speculation = self.speculation
        return f"acceptance length {speculation.acceptance_length:.10g} forced" if speculation else ""

    @property
    def publications(self) -> list[Published]:
        """The published results that a run can be compared with: none if its acceptance is forced."""
        return [] if self.speculation else self.published

    @property
    def gated_metric(self) -> str | None:
        """The name of the metric that `--dsr1-gate` judges; None if the scenario names none."""
        found = self.search.metric if self.search else None
        return self.gate.metric or (self.targets[0].metric if self.targets else found)

    @property
    def gates_search(self) -> bool:
        """Whether `--dsr1-gate` judges the result of `search`, and not a run."""
        return self.search is not None and self.gated_metric in self.search.metrics


def _with_all_engines() -> None:
    """Rebuild the schema if it was built before another engine was registered."""
    if Scenario.__pydantic_complete__:
        Scenario.model_rebuild(force=True)


extensions.on_change(_with_all_engines)
