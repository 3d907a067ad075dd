"""trtllm-bench's report and its file of request records.

They are converted to our metric names and units. Any fault of a file is one sentence: all content either
parses or raises EngineError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.tensorrt_llm.settings import COUNTING_TOLERANCE, TrtllmBench
from pytest_dsr1.errors import EngineError
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.storage.files import open_regular
from pytest_dsr1.text import json_value

LARGEST_REPORT = 16_000_000
"""The most bytes of a report; a real one has 5,000."""
LENGTH_TOLERANCE = 0.001
"""The largest relative difference of mean lengths; the text report has four decimals."""
DRAFT_TOLERANCE = 0.25
"""The largest difference of draft tokens per step, which are whole; the text report has two decimals."""


class IncompleteReportError(EngineError):
    """A readable report without metrics that every report must have."""


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report.

    Attributes:
        metrics: the metrics in the report, by our names and in our units.
        requests: the number of requests; None if the report does not have it.
        world: the effective ``tp``, ``pp``, ``ep``, ``max_batch_size`` and ``max_num_tokens``, if the report
            has them.
        facts: other facts to keep, such as the quantization; JSON values.
        draft_tokens: per step; None if the report does not show them.
        not_measured: by metric, why a statistic of the report is not a measurement.
    """

    metrics: Mapping[str, float]
    requests: int | None = None
    world: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    draft_tokens: float | None = None
    not_measured: Mapping[str, str] = field(default_factory=dict)


_STATISTICS = ("minimum", "maximum", "p50", "p90", "p95", "p99")

_JSON_METRICS: Mapping[str, tuple[str, ...]] = {
    "request_throughput": ("performance", "request_throughput_req_s"),
    "total_output_throughput": ("performance", "system_output_throughput_tok_s"),
    "total_token_throughput": ("performance", "system_total_throughput_tok_s"),
    "per_user_output_throughput": ("performance", "output_throughput_per_user_tok_s"),
    "per_gpu_output_throughput": ("performance", "output_throughput_per_gpu_tok_s"),
    "total_latency": ("performance", "total_latency_ms"),
    "average_request_latency": ("performance", "avg_request_latency_ms"),
    "average_ttft": ("streaming_metrics", "avg_ttft_ms"),
    "average_tpot": ("streaming_metrics", "avg_tpot_ms"),
    "per_user_output_speed": ("streaming_metrics", "token_output_speed_tok_s"),
    "acceptance_length": ("decoding_stats", "acceptance_length_percentiles", "average"),
    "average_concurrency": ("request_info", "avg_num_concurrent_requests"),
    "average_input_length": ("request_info", "avg_input_length"),
    "average_output_length": ("request_info", "avg_output_length"),
    **{
        f"{prefix}_{statistic}": (block, percentiles, statistic)
        for prefix, block, percentiles in (
            ("request_latency", "performance", "request_latency_percentiles_ms"),
            ("ttft", "streaming_metrics", "ttft_percentiles"),
            ("tpot", "streaming_metrics", "tpot_percentiles"),
        )
        for statistic in _STATISTICS
    },
}

_JSON_WORLD = {
    "tp": "tp_size",
    "pp": "pp_size",
    "ep": "ep_size",
    "max_batch_size": "max_batch_size",
    "max_num_tokens": "max_num_tokens",
}

_JSON_FACTS = (
    ("engine", "quantization"),
    ("engine", "kv_cache_dtype"),
    ("engine", "dtype"),
    ("machine", "name"),
    ("world_info", "scheduling_policy"),
    ("world_info", "kv_cache_percentage"),
)

_JSON_DRAFTS = ("num_draft_tokens_percentiles", "num_accepted_draft_tokens_percentiles")

_ESSENTIAL = ("request_throughput", "total_output_throughput", "total_latency")


def read_report(path: Path) -> Report:
    """Read the report of ``--report_json``.

    Raises:
        IncompleteReportError: it has none of the known keys; this can happen with an old version.
        EngineError: it is missing, cut off, or not a report of trtllm-bench.
    """
    data = _read_json(path, LARGEST_REPORT)
    if not isinstance(data, dict):
        raise EngineError(
            f"{path}: is not a trtllm-bench report: expected an object, found {json_value(data)}"
        )
    metrics = {
        name: value
        for name, keys in _JSON_METRICS.items()
        if (value := _number(data, keys, path)) is not None
    }
    requests = _number(data, ("request_info", "num_requests"), path)
    drafted, accepted = (_number(data, ("decoding_stats", key, "average"), path) for key in _JSON_DRAFTS)
    return checked(
        path,
        Report(
            metrics,
            None if requests is None else round(requests),
            {
                name: round(value)
                for name, key in _JSON_WORLD.items()
                if (value := _number(data, ("world_info", key), path)) is not None
            },
            {
                ".".join(keys): fact
                for keys in _JSON_FACTS
                if isinstance(fact := _at(data, keys, path), str | float | int)
            },
            draft_tokens(drafted, accepted, metrics.get("average_output_length")),
        ),
    )


def draft_tokens(drafted: float | None, accepted: float | None, output: float | None) -> float | None:
    """Return the draft tokens per step from a request's means: drafted, accepted and output tokens.

    TensorRT-LLM's report counts drafted = length x steps and accepted = output - steps.
    """
    if drafted is None or accepted is None or output is None or output <= accepted:
        return None
    return drafted / (output - accepted)


def read_requests(path: Path) -> tuple[RequestRecord, ...]:
    """Read the records of ``--request_json``, in order of completion.

    Its times are ns of ``time.perf_counter``, which on Linux is the clock of ``time.monotonic``. A time to
    first token of -1 means that there was no streaming. Its decoding iterations start at 0.

    Raises:
        EngineError: the file is missing, cut off, or not a file of trtllm-bench.
    """
    data = _read_json(path, None)
    if not isinstance(data, list) or not data:
        raise EngineError(
            f"{path}: is not trtllm-bench's list of requests: expected a list, found {json_value(data)}"
        )
    return tuple(_record(entry, index, path) for index, entry in enumerate(data))


def differences(report: Report, job: Job) -> Iterator[str]:
    """Yield each difference of a report from the job: requests, lengths, parallelism, limits, odd numbers."""
    engine, workload = TrtllmBench.of(job.scenario), job.workload
    if report.requests is not None and report.requests != workload.requests:
        yield f"{report.requests} requests instead of {workload.requests}"
    lengths = {"average_input_length": workload.mean_input}
    if engine.eos_id < 0:
        lengths["average_output_length"] = workload.mean_output
    for name, wanted in lengths.items():
        found = report.metrics.get(name)
        if wanted and found is not None and abs(found - wanted) > LENGTH_TOLERANCE * wanted:
            yield f"{METRICS[name].label} {found:g} instead of {wanted:g}"
    asked = {
        "tp": engine.tp,
        "pp": engine.pp,
        "ep": engine.ep,
        "max_batch_size": engine.max_batch_size,
        "max_num_tokens": engine.max_num_tokens,
    }
    for name, value in asked.items():
        if value is not None and report.world.get(name, value) != value:
            yield f"{name} {report.world[name]} instead of {value}"
    yield from _draft_differences(report, engine.draft_tokens)
    for name, number in report.metrics.items():
        if number < 0 or (not number and METRICS[name].kind in {"rate", "total"}):
            yield f"{METRICS[name].label} is {number:g}"


def _draft_differences(report: Report, asked: int | None) -> Iterator[str]:
    if asked is None:
        return
    shown, accepted = report.draft_tokens, report.metrics.get("acceptance_length")
    if shown is not None and abs(shown - asked) > DRAFT_TOLERANCE:
        # Builds of 1.3 before #12341 accept the newer name and use 1.
        hint = ' (engine.dialect: "1.3" writes both names of this option)' if asked else ""
        yield f"draft tokens per step {shown:.3g} instead of {asked}{hint}"
    elif accepted is not None and accepted > (1 + asked) * COUNTING_TOLERANCE:
        yield f"acceptance length {accepted:g}, which {asked} draft tokens per step cannot give"


def _record(entry: object, index: int, path: Path) -> RequestRecord:
    where = f"{path}: request {index + 1}"
    if not isinstance(entry, dict):
        raise EngineError(f"{where} is {json_value(entry)}, expected an object")

    def whole(key: str) -> int:
        value = entry.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
            found = "missing" if value is None else json_value(value)
            raise EngineError(f"{where}: {key} is {found}, expected a whole number")
        return value

    start, first, end = (whole(f"{event}_timestamp") for event in ("start", "first_token", "end"))
    tokens, iteration = whole("num_total_output_tokens"), whole("decode_iteration")
    if end <= start or tokens < 1:
        raise EngineError(
            f"{where} took {(end - start) / 1e9:g} s for {tokens} tokens; both must be positive"
        )
    return RequestRecord(
        id=whole("id"),
        submitted_s=start / 1e9,
        first_token_s=first / 1e9 if first >= 0 else None,
        last_token_s=end / 1e9,
        input_tokens=whole("num_input_tokens"),
        output_tokens=tokens,
        decoding_iterations=iteration + 1 if iteration >= 0 else None,
    )


def _read_json(path: Path, largest: int | None) -> Any:
    try:
        size = path.stat().st_size
        if largest is not None and size > largest:
            raise EngineError(f"{path}: has {size:,} bytes; a report has at most {largest:,}")
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        raise EngineError(f"{path}: was not written") from None
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.strip():
        raise EngineError(f"{path}: is empty")
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise EngineError(f"{path}: is not text") from None
    except RecursionError:
        raise EngineError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise EngineError(f"{path}: is cut off or not JSON: {error}") from error


def _at(data: Mapping[str, Any], keys: tuple[str, ...], where: object) -> object:
    """Return the value at ``keys``; None if a level is missing or null."""
    value: object = data
    for depth, key in enumerate(keys):
        if not isinstance(value, dict):
            raise EngineError(f"{where}: {'.'.join(keys[:depth])} is {json_value(value)}, expected an object")
        value = value.get(key)
        if value is None:
            return None
    return value


def _number(data: Mapping[str, Any], keys: tuple[str, ...], where: object) -> float | None:
    value = _at(data, keys, where)
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise EngineError(f"{where}: {'.'.join(keys)} is {json_value(value)}, expected a finite number")


def checked(where: object, report: Report) -> Report:
    """Return a report that has everything that every report must have.

    Raises:
        IncompleteReportError: it lacks some of that.
    """
    missing = [name for name in _ESSENTIAL if name not in report.metrics]
    if missing:
        raise IncompleteReportError(
            f"{where}: the report does not state {', '.join(missing)}; it is incomplete"
        )
    return _without_zeros(report)


_SHORT_ANSWER = (
    "trtllm-bench counts 0 for a request with one output token, which has no such time, so its statistics "
    "are not a measurement; request more output tokens, or remove the target"
)


def _without_zeros(report: Report) -> Report:
    """Return a report without TPOT or TTFT if it counts 0 for requests with one output token, which lack it.

    A mean over such zeros is too low; request records give the statistics without these requests.
    """
    times = {"tpot": {"average_tpot", "per_user_output_speed"}, "ttft": {"average_ttft"}}
    groups = [names | {f"{prefix}_{each}" for each in _STATISTICS} for prefix, names in times.items()]
    zeros = {name for name, value in report.metrics.items() if value == 0}
    dropped = {name: _SHORT_ANSWER for names in groups if names & zeros for name in sorted(names)}
    kept = {name: value for name, value in report.metrics.items() if name not in dropped}
    return replace(report, metrics=kept, not_measured=dropped)
