"""A seeded model of request times on a simulated clock: nothing sleeps."""

from __future__ import annotations

import heapq
import json
import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Served:
    """One request; times in ns from the start of the run."""

    id: int
    input_tokens: int
    output_tokens: int
    start: int
    first: int
    end: int
    iterations: int


@dataclass(frozen=True)
class Speed:
    """The speed of the simulated machine."""

    ttft_ms: float = 240.0
    tpot_ms: float = 4.9
    acceptance: float = 1.0
    seed: int = 0
    times: Path | None = None
    """Records of another measurement, one per line (requests.jsonl); their times are used instead."""


def serve(lengths: list[tuple[int, int]], concurrency: int, speed: Speed) -> list[Served]:
    """Return a closed loop of ``concurrency`` over (input, output) lengths, in order of completion."""
    random_ = random.Random(speed.seed)
    recorded = [json.loads(line) for line in speed.times.open(encoding="utf-8")] if speed.times else []
    slots = [0] * min(concurrency, len(lengths))
    served = []
    for number, (tokens_in, tokens_out) in enumerate(lengths):
        if recorded:
            like = recorded[number % len(recorded)]
            wait = (like["first_token_s"] or like["submitted_s"]) - like["submitted_s"]
            step = (like["last_token_s"] - like["submitted_s"] - wait) / max(like["output_tokens"] - 1, 1)
        else:
            wait = speed.ttft_ms / 1e3 * random_.uniform(0.8, 1.2)
            step = speed.tpot_ms / 1e3 * random_.uniform(0.95, 1.05)
        start = heapq.heappop(slots) + 1000
        first = start + round(wait * 1e9)
        end = first + round(step * max(tokens_out - 1, 1) * 1e9)
        heapq.heappush(slots, end)
        steps = max(1, round(tokens_out / speed.acceptance))
        served.append(Served(number, tokens_in, tokens_out, start, first, end, steps))
    return sorted(served, key=lambda request: request.end)
