"""The log of a running trtllm-bench: phases, requests done, and iterations.

The wording is from TensorRT-LLM 0.18 to 1.3. Unknown lines are kept for messages and otherwise ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_dsr1.process.child import Line
from pytest_dsr1.process.log.lines import plain_line
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.records import Observer, Phase

_BAR = re.compile(r"Benchmarking:.*?(\d+)/(\d+)\s*\[")
_ITERATION = re.compile(r"\biter\s*[:=]\s*\d+")
# Lines have {'num_ctx_requests': 0, ..., 'num_generation_tokens': 8}; newer builds may have = instead of :.
_CONTEXT_REQUESTS = re.compile(r"num_ctx_requests'?\s*[:=]\s*(\d+)")
_GENERATED = re.compile(r"num_generation_tokens'?\s*[:=]\s*(\d+)")

_PHASES: tuple[tuple[re.Pattern[str], Phase], ...] = (
    (re.compile(r"Benchmark complete\.|Benchmark done\."), "finishing"),
    (re.compile(r"Starting benchmark\.\.\."), "measuring"),
    (re.compile(r"Setting up for warmup|Running warmup\."), "warm-up"),
    (re.compile(r"Setting up throughput benchmark|[Ll]oading (weights|safetensors|checkpoint)"), "loading"),
)
_WORDS = ("ench", "iter", "arm", "oad")
"""Parts of words in every line that is looked at; most lines of a flood have none."""
_ORDER: tuple[Phase, ...] = ("starting", "loading", "warm-up", "measuring", "finishing")


@dataclass
class BenchLog:
    """The content of the log so far.

    Attributes:
        observer: receives phases and progress.
        mean_output: mean output tokens per request, for progress in tokens.
        phase: the current phase.
        measuring_to_s: when the measurement ended, ``time.monotonic``; None before.
        requests: (time, measured requests done), from the progress bar.
        iterations: (time, output tokens of the iteration). With MTP the tokens include rejected drafts; with
            attention data parallelism they may come from only one rank.
        reader: remembers the cause of a failure.
    """

    observer: Observer
    mean_output: float
    phase: Phase = "starting"
    measuring_to_s: float | None = None
    requests: list[tuple[float, int]] = field(default_factory=list)
    iterations: list[tuple[float, int]] = field(default_factory=list)
    reader: LogReader = field(default_factory=LogReader)
    _warming: bool = False

    def take(self, line: Line) -> None:
        """Read one line of the log."""
        self.reader.take(line.text)
        if not any(word in line.text for word in _WORDS):
            return
        # A bar ends no line, so a line of the logger may stand behind it.
        if bar := _BAR.search(line.text):
            self._bar(line.time_s, int(bar[1]))
        if _ITERATION.search(line.text):
            if self.phase == "measuring":
                tokens = sum(int(m[1]) for p in (_CONTEXT_REQUESTS, _GENERATED) if (m := p.search(line.text)))
                self.iterations.append((line.time_s, tokens))
        elif bar:
            return
        elif "Warmup done." in line.text:
            self._warming = False
        else:
            phase = next((phase for pattern, phase in _PHASES if pattern.search(line.text)), None)
            # The warm-up is a small benchmark with the same log lines.
            if phase is not None and not (self._warming and phase in {"measuring", "finishing"}):
                self._warming = phase == "warm-up"
                self._enter(phase, line)

    def _bar(self, time_s: float, done: int) -> None:
        if self._warming:
            return
        if self.phase not in {"measuring", "finishing"}:  # a version that does not log the start
            self._enter("measuring", Line("log", "", time_s))
        if not self.requests or self.requests[-1][1] != done:
            self.requests.append((time_s, done))
            self.observer.progress(done, round(done * self.mean_output))

    def _enter(self, phase: Phase, line: Line) -> None:
        if _ORDER.index(phase) < _ORDER.index(self.phase):
            return
        if phase == "finishing" and self.phase != phase:
            self.measuring_to_s = line.time_s
        self.phase = phase
        self.observer.phase(phase, plain_line(line.text).text.strip()[:100])


def series(
    iterations: Sequence[tuple[float, int]],
    from_s: float,
    to_s: float,
    total_tokens: float,
    bin_s: float = 1.0,
) -> tuple[tuple[float, float], ...]:
    """Return output tokens per second over time, as (end of the interval, rate).

    Args:
        iterations: (monotonic time, tokens counted).
        from_s: when the measurement began.
        to_s: when it ended; a line of the log may arrive a moment later.
        total_tokens: the output tokens of the whole measurement. Counts are scaled to this sum, because with
            MTP they include rejected drafts, and with attention data parallelism they may be from one rank.
        bin_s: the interval in seconds.
    """
    bins = [0.0] * (int((to_s - from_s) / bin_s) + 1)
    for time_s, tokens in iterations:
        bins[int((min(max(time_s, from_s), to_s) - from_s) / bin_s)] += tokens
    counted = sum(bins)
    ends = [min(from_s + (i + 1) * bin_s, to_s) for i in range(len(bins))]
    return tuple(
        (end_s, tokens * total_tokens / counted / width_s)
        for i, (end_s, tokens) in enumerate(zip(ends, bins, strict=True))
        if counted and (width_s := end_s - (from_s + i * bin_s)) > 0
    )
