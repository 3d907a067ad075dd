"""The client's check of itself: how late its event loop is and how busy its thread is.

A saturated client would measure itself instead of the server. The limits come from measurements of saturated
clients with a server that knows the true times (docs/background/measurements.md).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.records import RequestRecord

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

TICK_S = 0.01
LAG_SHARE_LIMITS = {"mean": 0.05, "P99": 0.25}
"""The largest share of the time to first token that may be the client's own lateness. The mean lateness is
about the error of the mean. The P99 of the lateness is mostly two to four times the error of the P99, because
the two are values of different requests."""
CPU_LIMIT = 0.95
"""The largest share of one core that the client's thread may use, over the whole measurement."""
READ_LATE_LIMIT = 0.5
"""The largest share of events that may be close together only because the client read them late. It was up to
0.4 where a server sent as fast as the client read."""
SHORTEST_S = 2.0
"""The shortest measurement with enough checks of the loop; the result warns below it."""


@dataclass(frozen=True, slots=True)
class FirstTokenLag:
    """A time to first token (or to an answer that is not streamed) and the client's lateness in it."""

    name: str
    measured_s: float
    lag_s: float

    @property
    def share(self) -> float:
        """The lateness divided by the time."""
        return self.lag_s / self.measured_s if self.measured_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """The load of the client during a measurement.

    Attributes:
        seconds: the duration of the watch.
        looked_s: the times at which the loop was checked, on the monotonic clock.
        lags_s: the lateness of the loop at these times, in seconds.
        cpu_s: the CPU time of the client's thread, in seconds.
    """

    seconds: float
    looked_s: Sequence[float]
    lags_s: Sequence[float]
    cpu_s: float

    @property
    def cpu_share(self) -> float:
        """The share of one core."""
        return self.cpu_s / self.seconds if self.seconds else 0.0

    def lags_at(self, times_s: Floats) -> Floats:
        """Return how late the client may have been at these times, in s: the lag of the next look.

        The same delay hit both. 0 if the loop was never looked at.
        """
        import numpy as np

        if not self.lags_s:
            return np.zeros(len(times_s))
        looks = np.searchsorted(np.array(self.looked_s), times_s).clip(max=len(self.lags_s) - 1)
        lags_s: Floats = np.array(self.lags_s)[looks]
        return lags_s

    def first_token_lags(self, records: Sequence[RequestRecord]) -> tuple[FirstTokenLag, ...]:
        """Return mean and P99 of the time to first token, with the lateness of the loop at these tokens.

        The lateness of a token is about, and at most, the lag of the next check of the loop. A mean over time
        would not show that a client is late in bursts of requests, where most first tokens are.
        """
        import numpy as np

        answered = [record for record in records if record.error is None]
        if not answered or not self.lags_s:
            return ()
        seen_s = np.array([r.last_token_s if r.first_token_s is None else r.first_token_s for r in answered])
        took_s = np.sort(seen_s - np.array([record.start_s for record in answered]))
        late_s = np.sort(self.lags_at(seen_s))
        p99 = int(len(answered) * 0.99)
        return (
            FirstTokenLag("mean", float(took_s.mean()), float(late_s.mean())),
            FirstTokenLag("P99", float(took_s[p99]), float(late_s[p99])),
        )

    def facts(self, records: Sequence[RequestRecord]) -> dict[str, object]:
        """Return the figures for the result."""
        lags_s = sorted(self.lags_s) or [0.0]
        return {
            "loop_lag_mean_ms": round(fmean(lags_s) * 1e3, 3),
            "loop_lag_p99_ms": round(lags_s[int(len(lags_s) * 0.99)] * 1e3, 3),
            "loop_lag_max_ms": round(lags_s[-1] * 1e3, 3),
            "cpu_share": round(self.cpu_share, 4),
            "cpu_s": round(self.cpu_s, 3),
            **{
                f"first_token_lag_{each.name.lower()}_ms": round(each.lag_s * 1e3, 3)
                for each in self.first_token_lags(records)
            },
        }

    def judge(self, name: str, records: Sequence[RequestRecord], read_late: float = 0.0) -> None:
        """Refuse a measurement in which the client was the limit.

        Args:
            name: the scenario.
            records: its requests.
            read_late: the share of events that may be close together only because the client read them late.

        Raises:
            InvalidRunError: the client was saturated.
        """
        if self.seconds < SHORTEST_S:
            return
        found = [
            f"the client's event loop was {each.lag_s * 1e3:.1f} ms late when first tokens arrived, "
            f"{each.share:.0%} of the measured {each.measured_s * 1e3:.1f} ms ({each.name}; limit "
            f"{LAG_SHARE_LIMITS[each.name]:.0%})"
            for each in self.first_token_lags(records)
            if each.share > LAG_SHARE_LIMITS[each.name]
        ]
        if read_late > READ_LATE_LIMIT:
            found.append(
                f"{read_late:.0%} of the events were read late and together (limit {READ_LATE_LIMIT:.0%})"
            )
        if self.cpu_share > CPU_LIMIT:
            found.append(f"the client's thread used {self.cpu_share:.0%} of a core (limit {CPU_LIMIT:.0%})")
        if found:
            raise InvalidRunError(
                f"{name}: client-bound: the load generator was saturated, so the figures are its own and not "
                f"the server's: {' and '.join(found)}; lower load.concurrency or the arrival rate, start "
                "with load.ramp_s, keep other work off this machine, install uvloop "
                "(pytest-dsr1[openai]), or run client and server on different machines"
            )

    def unjudged(self) -> str | None:
        """Return a warning if the measurement was too short for :meth:`judge`."""
        if self.seconds >= SHORTEST_S:
            return None
        return (
            f"the measurement took {self.seconds:.2f} s; below {SHORTEST_S:g} s it is unknown whether the "
            "client was saturated, so these figures may not be the server's; raise load.num_requests"
        )


class LoopWatch:
    """A watch that checks the loop 100 times per second; costs about 0.1% of a core."""

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
        # Timers have a resolution of 1 ms, so a check may also be early.
        self._lags_s.append(max(0.0, now - self._due_s))
        self._due_s = now + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._look)

    def stop(self) -> ClientLoad:
        """End the watch and return the load."""
        self._timer.cancel()
        return ClientLoad(
            seconds=time.monotonic() - self._began_s,
            looked_s=self._looked_s,
            lags_s=self._lags_s,
            cpu_s=time.thread_time() - self._cpu_s,
        )
