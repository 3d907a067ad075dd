"""Whether the client itself is what is measured: how late its event loop is, and how busy its thread.

The limits were chosen by measuring saturated clients against a server that knows the truth
(docs/background/measurements.md).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.records import RequestRecord

TICK_S = 0.01
LAG_SHARE_LIMITS = {"mean": 0.05, "P99": 0.25}
"""Of the time to first token that may be the client's own lateness. The mean lateness is about the error of
the mean; the P99 of lateness is mostly two to four times that of the P99, as they fall on other requests."""
CPU_LIMIT = 0.95
"""Share of one core that the client's thread used, over the whole measurement."""
SHORTEST_S = 2.0
"""Below this there are too few looks to judge, and the result says that nobody did."""


@dataclass(frozen=True, slots=True)
class Waited:
    """A time to first token (without streaming: to the answer), and the client's lateness within it, in s."""

    name: str
    measured_s: float
    lag_s: float

    @property
    def share(self) -> float:
        """Of the lateness in the time."""
        return self.lag_s / self.measured_s if self.measured_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """How the client fared.

    Attributes:
        seconds: that were watched.
        looked_s: when the loop was looked at, on the monotonic clock.
        lags_s: how late it was then.
        cpu_s: of the client's thread.
    """

    seconds: float
    looked_s: Sequence[float]
    lags_s: Sequence[float]
    cpu_s: float

    @property
    def cpu_share(self) -> float:
        """Of one core."""
        return self.cpu_s / self.seconds if self.seconds else 0.0

    def waited(self, records: Sequence[RequestRecord]) -> tuple[Waited, ...]:
        """Mean and P99 of the time to first token, with how late the loop was when it saw these tokens.

        A token is seen late by the lag of the first look after it, at most and roughly: what delayed that
        look delayed the token too. Bursts of requests are where a client is late, and where most first
        tokens are, so a mean over time would not show it.
        """
        import numpy as np

        answered = [record for record in records if record.error is None]
        if not answered or not self.lags_s:
            return ()
        seen_s = np.array([r.last_token_s if r.first_token_s is None else r.first_token_s for r in answered])
        took_s = np.sort(seen_s - np.array([record.start_s for record in answered]))
        looks = np.searchsorted(np.array(self.looked_s), seen_s).clip(max=len(self.lags_s) - 1)
        late_s = np.sort(np.array(self.lags_s)[looks])
        p99 = int(len(answered) * 0.99)
        return (
            Waited("mean", float(took_s.mean()), float(late_s.mean())),
            Waited("P99", float(took_s[p99]), float(late_s[p99])),
        )

    def facts(self, records: Sequence[RequestRecord]) -> dict[str, object]:
        """For the result."""
        lags_s = sorted(self.lags_s) or [0.0]
        return {
            "loop_lag_mean_ms": round(fmean(lags_s) * 1e3, 3),
            "loop_lag_p99_ms": round(lags_s[int(len(lags_s) * 0.99)] * 1e3, 3),
            "loop_lag_max_ms": round(lags_s[-1] * 1e3, 3),
            "cpu_share": round(self.cpu_share, 4),
            "cpu_s": round(self.cpu_s, 3),
            **{
                f"first_token_lag_{each.name.lower()}_ms": round(each.lag_s * 1e3, 3)
                for each in self.waited(records)
            },
        }

    def judge(self, name: str, records: Sequence[RequestRecord]) -> None:
        """Refuse a measurement of the client.

        Raises:
            InvalidRunError: the client was saturated.
        """
        if self.seconds < SHORTEST_S:
            return
        found = [
            f"its event loop was {each.lag_s * 1e3:.1f} ms late when first tokens came, which is "
            f"{each.share:.0%} of the measured {each.measured_s * 1e3:.1f} ms ({each.name}; limit "
            f"{LAG_SHARE_LIMITS[each.name]:.0%})"
            for each in self.waited(records)
            if each.share > LAG_SHARE_LIMITS[each.name]
        ]
        if self.cpu_share > CPU_LIMIT:
            found.append(f"its thread used {self.cpu_share:.0%} of a core (limit {CPU_LIMIT:.0%})")
        if found:
            raise InvalidRunError(
                f"{name}: client-bound: the load generator was saturated and these would be its own figures, "
                f"not the server's: {' and '.join(found)}; lower load.concurrency or the arrival rate, start "
                "with load.ramp_s, keep other work off this machine, install uvloop "
                "(pytest-dsr1[openai]), or run the client on another machine than the server"
            )

    def unjudged(self) -> str | None:
        """That :meth:`judge` did not, where it did not."""
        if self.seconds >= SHORTEST_S:
            return None
        return (
            f"all was over in {self.seconds:.2f} s: in less than {SHORTEST_S:g} s it cannot be told whether "
            "the client was saturated, so nobody knows whether these figures are the server's; raise "
            "load.num_requests"
        )


class LoopWatch:
    """Looks 100 times a second; costs about 0.1% of a core."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._looked_s = array("d")
        self._lags_s = array("d")
        self._began_s = time.monotonic()
        self._cpu_s = time.thread_time()
        self._due_s = self._began_s + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._looked_s.append(now)
        # Timers have a resolution of 1 ms, so to be early is not to be late.
        self._lags_s.append(max(0.0, now - self._due_s))
        self._due_s = now + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._look)

    def stop(self) -> ClientLoad:
        """End, and tell."""
        self._timer.cancel()
        return ClientLoad(
            seconds=time.monotonic() - self._began_s,
            looked_s=self._looked_s,
            lags_s=self._lags_s,
            cpu_s=time.thread_time() - self._cpu_s,
        )
