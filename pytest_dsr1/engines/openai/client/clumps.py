"""The check for clumps: tokens of a stream that were held back, and then sent together.

The time of an event is the time of its tokens only if it is sent when they are made. A proxy that buffers, or
a server that does not stream, sends many tokens at once after a wait. Then TPOT is far too short (0.0007 ms
for 1,024 tokens in one burst after 1 s), and TTFT is too long.

A clump is many tokens, in one event or several, close together, after a wait. It counts only if nothing else
explains it. A server may put many tokens into each event, if the events are as far apart as the tokens need.
Events that the client reads late look close together; the client knows how late it was. A server that sends
faster than any GPU makes tokens does not wait for them.
docs/background/measurements.md has the runs from which the limits come.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_dsr1.engines.openai.client.self_check import ClientLoad
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.load import Slo

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

HELD_LIMIT = 0.25
"""The largest share of all tokens that may be held back. Servers that stream reached 0.09, or 0.30 where the
client was so late that it read more events late. With 1 to 8 clumps per answer it was at least 0.80."""
FASTEST_S = 0.00125
"""Events of one stream that are closer together on average were not sent as their tokens were made: these are
over 800 events per second. DeepSeek-R1 makes less than 400 tokens per second for one user, and the fastest
stream that was measured on an H200 had 2.0 ms between tokens."""
_LATE_FASTEST_S = 0.0016
"""The same if the client was late: events may have come evenly over the time in which it did not look."""
LEAST_MAKING_S = 0.0009
"""A wait explains a clump only if it has this time for each token: at most 1,111 tokens per second. A server
without a model makes them faster: 128 tokens at once after 100 ms."""
_APART_S = 0.0004
"""Events of many tokens that have this time for each token were not sent together: 2,500 tokens per second,
which leaves room for drafts."""
_SHORTEST_WAIT_S = 0.005
"""Shorter waits can be those of the operating system, so they do not part clumps."""
_WAIT_FACTOR = 4
"""The wait before a clump is at least this many times as long as the clump, and as the client was late."""
_WITHIN = 1 / 8
"""A gap below this share of the longest wait may be inside a clump: a large one is read in several pieces."""
_FEW = 8
_SHARE = 0.1
_MANY = 18
"""A clump has at least ``_MANY`` tokens, or ``_FEW`` events and ``_SHARE`` of its answer, so TPOT is at least
10% too short. A step with drafts makes fewer tokens (mostly up to 6, at most 17), and some servers send an
event for each."""
_WHOLE = 4
_WHOLE_WAIT_S = 0.1
"""An answer that came whole, in several events, is a clump from ``_WHOLE`` tokens on after this wait: no step
makes all of an answer, because its first token comes from the prefill."""


@dataclass(frozen=True, slots=True)
class Clumped:
    """The tokens of a run that came in clumps.

    Attributes:
        held_share: the share of all tokens that server or proxy held back.
        late_share: the share of all tokens that may look like this only because the client read them late.
        tokens: the tokens of a clump that was held back, on average; 0 without any.
        wait_s: the wait before it, on average, in s.
    """

    held_share: float = 0.0
    late_share: float = 0.0
    tokens: float = 0.0
    wait_s: float = 0.0

    @property
    def why_not(self) -> str | None:
        """The reason why times of events are not times of tokens, and what to change; None if they are."""
        if self.held_share <= max(HELD_LIMIT, self.late_share):
            return None
        return (
            f"{self.held_share:.0%} of the tokens came in clumps (limit {HELD_LIMIT:.0%}; on average "
            f"{self.tokens:,.0f} tokens at once, after {self.wait_s * 1e3:,.0f} ms without any), so the time "
            "of an event is not the time of its tokens: a proxy collects events before it sends them on, or "
            "the server does not stream; measure without the proxy, or make it pass on each event at once "
            "(nginx: `proxy_buffering off`)"
        )

    @property
    def read_late(self) -> float:
        """The share of tokens that the client may have read late and together; 0 if others held them back."""
        return 0.0 if self.why_not else self.held_share + self.late_share

    def not_measured(self, slo: Slo | None) -> dict[str, str]:
        """Return the metrics that rest on the times of events, with the reason why they are not measured."""
        if self.why_not is None:
            return {}
        needs = {"streaming"}
        if slo is not None and (slo.preset or slo.ttft_ms or slo.tpot_ms):
            needs.add("slo")
        return {name: self.why_not for name, metric in METRICS.items() if metric.needs & needs}

    def warnings(self) -> Iterator[str]:
        """Yield the sentence about a run that has no times of tokens."""
        if self.why_not is not None:
            yield f"TTFT, TPOT and what follows from them are INVALID: {self.why_not}"

    def facts(self) -> dict[str, object]:
        """Return the figures for the result."""
        return {
            "events_in_clumps_share": round(self.held_share, 4),
            "events_read_late_share": round(self.late_share, 4),
        }


class Clumps:
    """The search for clumps in the streams of a run. Costs about 10 us for an answer without any."""

    def __init__(self) -> None:
        self._tokens = 0
        self._found = array("d")
        """Of each clump: time of its first event, wait before it, its length, its events, its tokens."""
        self._lags_s = array("d")
        """How late the client was at each clump."""

    def add(self, sent_s: float, times_s: array[float], tokens: int) -> None:
        """Add the events of an answer of ``tokens`` tokens; its request was sent at ``sent_s``."""
        if not times_s:
            return
        self._tokens += tokens
        if len(times_s) == 1:
            wait_s = times_s[0] - sent_s
            if tokens >= _MANY and wait_s >= LEAST_MAKING_S * tokens:
                self._found.extend((times_s[0], wait_s, 0.0, 1, tokens))
            return
        import numpy as np

        at_s = np.frombuffer(times_s)
        gaps_s = np.diff(at_s, prepend=sent_s)
        each = tokens / len(times_s)
        if np.count_nonzero(gaps_s[1:] < max(FASTEST_S, _APART_S * each)) * 2 >= len(gaps_s) - 1:
            self._search(at_s, gaps_s, each)

    def _search(self, at_s: Floats, gaps_s: Floats, each: float) -> None:
        """Keep the clumps of an answer: all of it, else the parts between its longest waits, and so on.

        Args:
            at_s: the times of its events.
            gaps_s: the wait before each.
            each: the tokens of an event, on average.
        """
        import numpy as np

        parts = [(0, len(at_s))]
        while parts:
            begin, end = parts.pop()
            count = end - begin
            whole = count == len(at_s)
            wait_s, length_s = float(gaps_s[begin]), float(at_s[end - 1] - at_s[begin])
            enough = count * each >= (_WHOLE if whole and wait_s >= _WHOLE_WAIT_S else _MANY)
            # An event of many tokens after a wait may be meant so: `stream_interval`.
            if count == 1 or not (enough or count >= max(_FEW, _SHARE * len(at_s))):
                continue
            # Then the last event has the tokens that are left over, maybe one.
            full = count - 1 if whole or end < len(at_s) else count - 2
            shortest_s = max(FASTEST_S * (count - 1), _APART_S * each * full)
            if (
                length_s < shortest_s
                and wait_s >= LEAST_MAKING_S * count * each
                and wait_s >= _WAIT_FACTOR * length_s
            ):
                self._found.extend((at_s[begin], wait_s, length_s, count, count * each))
                continue
            inner_s = gaps_s[begin + 1 : end]
            splits = np.flatnonzero(inner_s >= max(_SHORTEST_WAIT_S, inner_s.max() * _WITHIN))
            edges = [begin, *(splits + begin + 1).tolist(), end]
            if len(edges) > 2:
                parts += pairwise(edges)

    def note_lags(self, load: ClientLoad) -> None:
        """Note how late the client was at each clump; call it once, after the last answer."""
        import numpy as np

        if self._found:
            self._lags_s.extend(load.lags_at(np.frombuffer(self._found)[::5]))

    def merge(self, other: Clumps) -> None:
        """Add the answers of another search whose lags are noted."""
        self._tokens += other._tokens
        self._found += other._found
        self._lags_s += other._lags_s

    def judged(self) -> Clumped:
        """Return the clumps that lateness of the client does not explain, and those that it may explain."""
        import numpy as np

        if not self._found:
            return Clumped()
        _, waits_s, lengths_s, counts, tokens = np.frombuffer(self._found).reshape(-1, 5).T
        lags_s = np.frombuffer(self._lags_s)
        # Spread over the time in which the client did not look, the events are still too close together.
        after = np.where(counts > 1, tokens - tokens / counts, tokens - 1)
        shortest_s = np.maximum(_LATE_FASTEST_S * (counts - 1), 2 * _APART_S * after)
        held = (lengths_s + lags_s < shortest_s) & (waits_s >= _WAIT_FACTOR * lags_s)
        some = bool(held.any())
        return Clumped(
            held_share=float(tokens[held].sum()) / self._tokens,
            late_share=float(tokens[~held].sum()) / self._tokens,
            tokens=float(tokens[held].mean()) if some else 0.0,
            wait_s=float(waits_s[held].mean()) if some else 0.0,
        )
