"""Arrivals of an open loop: when each request is sent, in seconds from the start of the measurement.

The gaps are drawn by numpy. A seed gives the same schedule with numpy 1.24, 1.26 and 2.4, except for the
rounding of the math library; numpy does not promise this for other versions.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.load import ConstantArrival, GammaArrival, PoissonArrival, TraceArrival
from pytest_dsr1.scenario.schema.scenario import Load
from pytest_dsr1.storage.files import open_regular
from pytest_dsr1.text import json_value
from pytest_dsr1.workload.workload import LONGEST_SEQUENCE

BLOCK_TOKENS = 512
"""Input tokens per hash id; the last hash id of a request stands for the remaining tokens."""

_LONGEST_LINE = 1 << 24
_IDS = 1 << 64
_SHOWN = 20
_FORMAT = (
    'Each line is one JSON object such as {"timestamp": 27482, "input_length": 955, "output_length": 52, '
    '"hash_ids": [46, 47]} (the Mooncake trace format, timestamps in ms); see '
    "`pytest-dsr1 docs openai#traces`."
)


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One line of a trace.

    Attributes:
        time_s: seconds since the first line.
        blocks: hash ids, one per ``BLOCK_TOKENS`` input tokens; requests that begin with the same hash ids
            begin with the same tokens. Empty if the request shares no tokens with another.
    """

    time_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]


def schedule(load: Load) -> list[float] | None:
    """Return the time of each request in seconds from the start, not decreasing; None for a closed loop.

    Raises:
        InvalidRunError: the trace cannot be used.
    """
    arrival, count = load.arrival, load.num_requests
    match arrival:
        case None:
            return None
        case ConstantArrival():
            return [i / arrival.rate_req_s for i in range(count)]
        case PoissonArrival():
            return _renewals(count, arrival.rate_req_s, 1.0, arrival.seed)
        case GammaArrival():
            return _renewals(count, arrival.rate_req_s, arrival.burstiness, arrival.seed)
        case TraceArrival():
            times = [request.time_s for request in read_trace(Path(arrival.path), count)]
            return [time / arrival.speedup for time in times]


def _renewals(count: int, rate: float, shape: float, seed: int) -> list[float]:
    """Return arrivals with gamma-distributed gaps of mean 1 / rate; shape 1 is a Poisson process."""
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed & (2**64 - 1), 3])))
    gaps = generator.standard_gamma(shape, count) / (rate * shape)
    times = np.cumsum(gaps) - gaps[0]  # the first request is sent at once
    return [float(time) for time in times]


def read_trace(path: Path, count: int) -> list[TraceRequest]:
    """Return the first ``count`` requests of a trace in the Mooncake format.

    Raises:
        InvalidRunError: lines cannot be used (the message names the first 20), or there are too few lines.
    """
    problems: list[str] = []
    requests: list[TraceRequest] = []
    first_ms = last_ms = 0.0
    number = 0
    try:
        with open_regular(path) as file:
            while number < count and (line := file.readline(_LONGEST_LINE)):
                number += 1
                found = _trace_line(line)
                if isinstance(found, list):
                    problems.extend(f"  {path}:{number}: {problem}" for problem in found)
                    continue
                time_ms, request = found
                if not requests:
                    first_ms = last_ms = time_ms
                if time_ms < last_ms:
                    problems.append(
                        f"  {path}:{number}: timestamp {time_ms:g} is before that of the line above"
                    )
                last_ms = max(last_ms, time_ms)
                requests.append(replace(request, time_s=(last_ms - first_ms) / 1e3))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRunError(
            f"{path}: the trace cannot be read: {reason}; correct load.arrival.path"
        ) from None
    if number < count:
        lines = "1 line" if number == 1 else f"{number:,} lines"
        use = f"use --dsr1-set load.num_requests={number}" if number else "correct load.arrival.path"
        problems.append(f"  {path}: the trace has {lines}, but the scenario needs {count:,} requests; {use}")
    if problems:
        more = [f"  and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
        head = f"{path} is not a usable trace ({len(problems):,} problem{'s' if len(problems) > 1 else ''}):"
        raise InvalidRunError("\n".join([head, *problems[:_SHOWN], *more, _FORMAT]))
    return requests


def _trace_line(line: bytes) -> tuple[float, TraceRequest] | list[str]:
    """Return the timestamp in ms and the request of one line, or every problem with it."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return ["not JSON; expected one whole object on the line"]
    if not isinstance(data, dict):
        return ["expected a JSON object"]
    problems: list[str] = []
    time_ms = data.get("timestamp")
    if (
        isinstance(time_ms, bool)
        or not isinstance(time_ms, int | float)
        or not 0 <= time_ms <= sys.float_info.max
    ):
        problems.append(f"timestamp must be milliseconds, 0 or more, found {json_value(time_ms)}")
    for key in ("input_length", "output_length"):
        length = data.get(key)
        if type(length) is not int or not 1 <= length <= LONGEST_SEQUENCE:
            problems.append(
                f"{key} must be a whole number from 1 to {LONGEST_SEQUENCE:,}, found {json_value(length)}"
            )
    blocks = data.get("hash_ids", [])
    if not isinstance(blocks, list):
        problems.append(f"hash_ids must be a list of whole numbers, found {json_value(blocks)}")
    else:
        bad = [block for block in blocks if type(block) is not int or not 0 <= block < _IDS]
        if bad:
            problems.append(f"hash_ids must be whole numbers from 0 to 2^64 - 1, found {json_value(bad[0])}")
    if problems:
        return problems
    inputs, expected = data["input_length"], -(-data["input_length"] // BLOCK_TOKENS)
    if blocks and len(blocks) != expected:
        return [
            f"expected {expected:,} hash_ids, found {len(blocks):,}: one per {BLOCK_TOKENS} tokens of "
            f"input_length ({inputs:,}), and one for the rest"
        ]
    return float(data["timestamp"]), TraceRequest(0.0, inputs, data["output_length"], tuple(blocks))
