"""The gaps between the events of streams, in a histogram of fixed size, and the tokens over time."""

from __future__ import annotations

import math
from array import array

_SMALLEST_S = 1e-6
_STEP = 1.002
_LOG_STEP = math.log(_STEP)
_BINS = int(math.log(1e9) / _LOG_STEP) + 1
"""From 1 us to 1,000 s in steps of 0.2%; longer gaps are in the last."""


class Gaps:
    """A histogram of gaps. Mean and maximum are exact; percentiles are right to 0.1% from 1 us to 1,000 s."""

    def __init__(self) -> None:
        import numpy as np

        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._sum_s = 0.0
        self._max_s = 0.0
        self.count = 0

    def add(self, times_s: array[float]) -> None:
        """Add the gaps between these times, which must not decrease."""
        if len(times_s) < 2:
            return
        import numpy as np

        gaps = np.diff(np.frombuffer(times_s, dtype=np.float64))
        bins = np.log(np.maximum(gaps, _SMALLEST_S) * (1 / _SMALLEST_S)) * (1 / _LOG_STEP)
        np.add.at(self._counts, np.minimum(bins.astype(np.int64), _BINS - 1), 1)
        self._sum_s += float(gaps.sum())
        self._max_s = max(self._max_s, float(gaps.max()))
        self.count += len(gaps)

    def merge(self, other: Gaps) -> None:
        """Add the gaps of another histogram."""
        self._counts += other._counts
        self._sum_s += other._sum_s
        self._max_s = max(self._max_s, other._max_s)
        self.count += other.count

    def metrics(self) -> dict[str, float]:
        """Return the metrics ``inter_event_gap_...`` in ms; empty if there was no gap."""
        if not self._max_s:
            return {}
        import numpy as np

        cumulated = np.cumsum(self._counts)

        def percentile_ms(share: float) -> float:
            index = int(np.searchsorted(cumulated, int(self.count * share), side="right"))
            middle_s: float = _SMALLEST_S * math.exp((index + 0.5) * _LOG_STEP)
            return min(middle_s, self._max_s) * 1e3

        return {
            "average_inter_event_gap": self._sum_s / self.count * 1e3,
            **{f"inter_event_gap_p{p}": percentile_ms(p / 100) for p in (50, 90, 95, 99)},
            "inter_event_gap_maximum": self._max_s * 1e3,
        }


class TokensOverTime:
    """The output tokens in each second; the tokens of a request are spread evenly over its events."""

    def __init__(self) -> None:
        import numpy as np

        self._from_s = 0.0
        self._tokens = np.zeros(0)

    def begin(self, from_s: float) -> None:
        """Set the start of the measurement."""
        self._from_s = from_s

    def add(self, times_s: array[float], tokens: int) -> None:
        """Add the events of one request, which have ``tokens`` tokens together."""
        if not times_s:
            return
        import numpy as np

        seconds = (np.frombuffer(times_s, dtype=np.float64) - self._from_s).clip(0).astype(np.int64)
        if seconds[-1] >= len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.zeros(int(seconds[-1]) + 64)])
        first = int(seconds[0])
        counts = np.bincount(seconds - first) * (tokens / len(times_s))
        self._tokens[first : first + len(counts)] += counts

    def merge(self, other: TokensOverTime) -> None:
        """Add the tokens of another one that began at the same time."""
        import numpy as np

        self._from_s = other._from_s
        known = max(len(self._tokens), len(other._tokens))
        self._tokens = np.pad(self._tokens, (0, known - len(self._tokens)))
        self._tokens[: len(other._tokens)] += other._tokens

    def series(self, to_s: float) -> tuple[tuple[float, float], ...]:
        """Return (monotonic time, tokens per second) of each whole second of the measurement."""
        known = len(self._tokens)
        return tuple(
            (self._from_s + i + 1, float(self._tokens[i]) if i < known else 0.0)
            for i in range(int(to_s - self._from_s))
        )
