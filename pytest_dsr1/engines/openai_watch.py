"""Whether the client itself is what is measured: how late its event loop is, and how busy its thread.

The limits are provisional: no saturated client was measured yet, and a run on a machine busy with other work
reported TTFT 10 ms too long with the loop 27 ms late at P99, which passes (docs/openai-engine.md).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from dataclasses import dataclass

from pytest_dsr1.errors import InvalidRunError

TICK_S = 0.01
LAG_P99_LIMIT_S = 0.05
"""The loop was later than this in one of a hundred looks."""
CPU_LIMIT = 0.95
"""Share of one core that the client's thread used, over the whole measurement."""
SHORTEST_S = 2.0
"""Below this there are too few looks to judge."""


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """How the client fared; lags in s, ``cpu_share`` of one core."""

    seconds: float
    lag_mean_s: float
    lag_p99_s: float
    lag_max_s: float
    cpu_share: float
    cpu_s: float

    def facts(self) -> dict[str, object]:
        """For the result."""
        return {
            "loop_lag_mean_ms": round(self.lag_mean_s * 1e3, 3),
            "loop_lag_p99_ms": round(self.lag_p99_s * 1e3, 3),
            "loop_lag_max_ms": round(self.lag_max_s * 1e3, 3),
            "cpu_share": round(self.cpu_share, 4),
            "cpu_s": round(self.cpu_s, 3),
        }

    def judge(self, name: str) -> None:
        """Refuse a measurement of the client.

        Raises:
            InvalidRunError: the client was saturated.
        """
        if self.seconds < SHORTEST_S:
            return
        found = []
        if self.lag_p99_s > LAG_P99_LIMIT_S:
            found.append(
                f"its event loop was {self.lag_p99_s * 1e3:.0f} ms late at P99 (limit "
                f"{LAG_P99_LIMIT_S * 1e3:.0f} ms)"
            )
        if self.cpu_share > CPU_LIMIT:
            found.append(f"its thread used {self.cpu_share:.0%} of a core (limit {CPU_LIMIT:.0%})")
        if found:
            raise InvalidRunError(
                f"{name}: client-bound: the load generator was saturated and these would be its own figures, "
                f"not the server's: {' and '.join(found)}; lower load.concurrency or the arrival rate, keep "
                "other work off this machine, install uvloop (pytest-dsr1[openai]), or run the client on "
                "another machine than the server"
            )


class LoopWatch:
    """Looks 100 times a second; costs about 0.1% of a core."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lags = array("f")
        self._began_s = time.monotonic()
        self._cpu_s = time.thread_time()
        self._due_s = self._began_s + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        # Timers have a resolution of 1 ms, so to be early is not to be late.
        self._lags.append(max(0.0, now - self._due_s))
        self._due_s = now + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._look)

    def stop(self) -> ClientLoad:
        """End, and tell."""
        self._timer.cancel()
        seconds = time.monotonic() - self._began_s
        cpu_s = time.thread_time() - self._cpu_s
        lags = sorted(self._lags) or [0.0]
        return ClientLoad(
            seconds=seconds,
            lag_mean_s=sum(lags) / len(lags),
            lag_p99_s=lags[int(len(lags) * 0.99)],
            lag_max_s=lags[-1],
            cpu_share=cpu_s / seconds if seconds else 0.0,
            cpu_s=cpu_s,
        )
