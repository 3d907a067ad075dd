"""trtllm-bench's report as the text in its log, for versions without the JSON file.

The labels are known for all versions since 0.17. A label may stand anywhere in a line, because launchers and
other processes write to the same log.
"""

from __future__ import annotations

import math
import re

from pytest_dsr1.engines.tensorrt_llm.bench.report import Report, checked, draft_tokens
from pytest_dsr1.errors import EngineError
from pytest_dsr1.process.log.lines import without_escapes

_TEXT_METRICS = {
    "request throughput": "request_throughput",
    "token throughput": "total_output_throughput",  # its name in 0.17
    "total output throughput": "total_output_throughput",
    "total token throughput": "total_token_throughput",
    "per user output throughput": "per_user_output_throughput",
    "per gpu output throughput": "per_gpu_output_throughput",
    "total latency": "total_latency",
    "average request latency": "average_request_latency",
    "average time-to-first-token": "average_ttft",
    "average time-per-output-token": "average_tpot",
    "per user output speed": "per_user_output_speed",
    "number of concurrent requests": "average_concurrency",
    "average input length": "average_input_length",
    "average output length": "average_output_length",
}

_TEXT_WORLD = {
    "tp size": "tp",
    "pp size": "pp",
    "ep size": "ep",
    "max runtime batch size": "max_batch_size",
    "max runtime tokens": "max_num_tokens",
}

_IN_MS = {"total_latency", "average_request_latency", "average_ttft", "average_tpot"}
_SPREADS = {"TPOT": "tpot", "TTFT": "ttft", "LATENCY": "request_latency"}
# Other processes write to the same log: their prefix may stand before a label, and their line after a value.
_VALUE = r"([^\s\[]+)"
_SPREAD = re.compile(rf"\[(\w+)\] (MINIMUM|MAXIMUM|AVERAGE|P50|P90|P95|P99) *: *{_VALUE}", re.IGNORECASE)
_REQUESTS = "number of requests"
_LABEL = re.compile(
    rf"({'|'.join(map(re.escape, [*_TEXT_METRICS, *_TEXT_WORLD, _REQUESTS]))})"
    rf"((?:\s*(?:\([^()]*\)|\[[^\[\]]*\]))*)\s*:\s+{_VALUE}",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?$")
_NOT_STATED = {"None", "N/A", "null"}
_HEADLINE = "= PERFORMANCE OVERVIEW"
_BEFORE_HEADLINE = "= REQUEST DETAILS"


def parse_text(text: str, where: object) -> Report:
    """Read the last report in ``text``, which is the log ``where``.

    Raises:
        EngineError: there is no report, or it is cut off or damaged.
    """
    lines = without_escapes(text).splitlines()
    heads = [i for i, line in enumerate(lines) if _HEADLINE in line]
    if not heads:
        raise EngineError(f"{where}: does not contain a report (no block {_HEADLINE[2:]})")
    firsts = [i for i in range(heads[-1]) if _BEFORE_HEADLINE in lines[i]]
    metrics: dict[str, float] = {}
    world: dict[str, int] = {}
    drafts: dict[str, float] = {}
    requests = None
    for line in lines[firsts[-1] if firsts else heads[-1] :]:
        if spread := _SPREAD.search(line):
            kind, statistic, value = spread.groups()
            if prefix := _SPREADS.get(kind.upper()):
                if statistic.upper() != "AVERAGE":
                    metrics[f"{prefix}_{statistic.lower()}"] = _float(value, spread[0], where)
            elif (kind.upper(), statistic.upper()) == ("AL", "AVERAGE"):
                metrics["acceptance_length"] = _float(value, spread[0], where)
            elif (kind.upper(), statistic.upper()) in {("DT", "AVERAGE"), ("ADT", "AVERAGE")}:
                drafts[kind.upper()] = _float(value, spread[0], where)
        elif (match := _LABEL.search(line)) and match[3] not in _NOT_STATED:
            key, units, value = match[1].lower(), match[2], match[3]
            if name := _TEXT_METRICS.get(key):
                if name in _IN_MS and "(ms)" not in units:
                    raise EngineError(f"{where}: expected ms in the report's line {match[0]!r}")
                metrics[name] = _float(value, match[0], where)
            elif key in _TEXT_WORLD:
                world[_TEXT_WORLD[key]] = round(_float(value, match[0], where))
            else:
                requests = round(_float(value, match[0], where))
    shown = draft_tokens(drafts.get("DT"), drafts.get("ADT"), metrics.get("average_output_length"))
    return checked(where, Report(metrics, requests, world, draft_tokens=shown))


def _float(value: str, line: str, where: object) -> float:
    try:
        number = float(value.replace(",", "") if _THOUSANDS.match(value) else value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise EngineError(
            f"{where}: expected a finite number at the end of the report's line {line.strip()!r}"
        )
    return number
