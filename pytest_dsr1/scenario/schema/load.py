"""The part of the scenario schema about servers: arrivals, service levels, and the engine `openai`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pytest_dsr1.scenario.schema.base import Part, Place, PositiveInt, VariableName

Rate = Annotated[float, Field(gt=0)]


class ConstantArrival(Part):
    """An open loop with equal gaps."""

    type: Literal["constant"]
    """Requests come at a constant rate."""
    rate_req_s: Rate
    """Requests per second."""


class PoissonArrival(Part):
    """An open loop of independent users."""

    type: Literal["poisson"]
    """Requests come as a Poisson process."""
    rate_req_s: Rate
    """Requests per second, in the mean."""
    seed: int = 420
    """The seed of the gaps."""


class GammaArrival(Part):
    """An open loop that is burstier, or smoother, than independent users are."""

    type: Literal["gamma"]
    """Requests come with gamma distributed gaps."""
    rate_req_s: Rate
    """Requests per second, in the mean."""
    burstiness: Rate
    """The gamma distribution's shape: 1 is a Poisson process, less is burstier, more is smoother."""
    seed: int = 420
    """The seed of the gaps."""


class TraceArrival(Part):
    """An open loop that replays recorded traffic."""

    type: Literal["trace"]
    """Requests come when a trace says."""
    path: Place
    """A JSONL file in the Mooncake format: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`."""
    speedup: Rate = 1.0
    """How many times faster than recorded."""


Arrival = Annotated[
    ConstantArrival | PoissonArrival | GammaArrival | TraceArrival, Field(discriminator="type")
]


class Slo(Part):
    """The service level that a request must keep to count in `goodput`."""

    preset: Literal["mlperf-server", "mlperf-interactive"] | None = None
    """MLPerf Inference's limits for DeepSeek-R1: server TTFT 2,000 ms and TPOT 80 ms, interactive 1,500 and 15 (there at P99)."""  # noqa: E501
    ttft_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time to first token; goes before the preset's."""
    tpot_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time per output token; goes before the preset's."""
    request_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """The longest time to the last token."""


class OpenAi(Part):
    """Any OpenAI-compatible server: one that runs already (`url`), or one started and stopped here."""

    type: Literal["openai"]
    """A server that speaks OpenAI's protocol."""
    server: Literal["trtllm-serve", "vllm", "sglang", "transformers", "other"] = "other"
    """Which server it is: its command, its names of options, and its way to be asked for exact output lengths."""  # noqa: E501
    url: Place | None = None
    """A server that runs already, such as `http://host:8000`, without `/v1`; it is neither started nor stopped."""  # noqa: E501
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """The command that starts the server, in the place of the usual one; `{port}` and `{model}` in it are replaced."""  # noqa: E501
    arguments: list[str] = Field(default_factory=list)
    """Further arguments of the server's command."""
    tp: PositiveInt | None = None
    """Tensor parallelism."""
    pp: PositiveInt | None = None
    """Pipeline parallelism."""
    ep: PositiveInt | None = None
    """Expert parallelism."""
    max_batch_size: PositiveInt | None = None
    """The most requests in one step."""
    max_num_tokens: PositiveInt | None = None
    """The most tokens in one step."""
    max_seq_len: PositiveInt | None = None
    """The longest sequence."""
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of GPU memory for the KV cache (TensorRT-LLM: of what the weights leave; vLLM and SGLang: for weights and cache together)."""  # noqa: E501
    endpoint: Literal["completions", "chat"] = "completions"
    """`completions` sends token ids, so that input lengths are exact, or text; `chat` sends text through the chat template."""  # noqa: E501
    streaming: bool = True
    """Stream the answers, which gives TTFT and TPOT."""
    exact_output: bool = True
    """Ask for exactly `output_tokens` tokens, and count an answer of another length as failed."""
    served_model: str | None = None
    """The model's name in requests; by default the first that the server lists."""
    body: dict[str, Any] = Field(default_factory=dict)
    """Fields added to every request, or replaced in it; null removes one."""
    api_key_env: VariableName | None = None
    """The environment variable that holds the API key. The key is never written anywhere."""
    verify_tls: bool = True
    """Refuse a server whose certificate is not trusted."""
    ca_file: Place | None = None
    """A PEM file of the authority that signed the server's certificate."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variables of the server's command."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """The longest time until the server is ready, in seconds."""
    silence_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A request for which nothing comes from the server for so many seconds has failed."""
    run_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The longest measured time in seconds; by default three times the plan plus 10 minutes."""
