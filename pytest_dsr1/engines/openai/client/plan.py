"""The plan of one pass: how many requests, and when; and how it is divided among event loops."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one pass.

    Attributes:
        requests: the most requests to send.
        concurrency: the most requests in flight.
        ramp_s: the seconds over which a closed loop starts its first ``concurrency`` requests evenly.
        ramp_from_s: when the first of them starts, if there is a ramp.
        schedule: when each request is due, in seconds from the start; None for a closed loop.
        duration_s: the time after which no request is sent, not even one that waits; None for no limit.
    """

    requests: int
    concurrency: int
    ramp_s: float = 0.0
    schedule: list[float] | None = None
    duration_s: float | None = None
    ramp_from_s: float = 0.0

    @property
    def starts(self) -> int:
        """The requests that a closed loop starts with."""
        return min(self.concurrency, self.requests)

    @property
    def ramp_times_s(self) -> list[float]:
        """When each of them starts, in seconds from the start."""
        return [self.ramp_from_s + self.ramp_s * number / self.starts for number in range(self.starts)]

    def in_part(self, number: int, first: int, of: int) -> bool:
        """Return whether this request belongs to the part ``first`` of ``of`` parts.

        A closed loop is divided by its slots: request ``n`` takes the place of request ``n - concurrency``.
        If requests were dealt one by one, some parts would get one wave of requests more than others.
        """
        slot = number if self.schedule is not None else number % self.concurrency
        return slot % of == first

    def part(self, first: int, of: int) -> Plan:
        """Return the plan for the part ``first`` of ``of`` parts."""
        wave = self.requests if self.schedule is not None else self.concurrency
        waves, rest = divmod(self.requests, wave) if wave else (0, 0)
        starts = len(range(first, self.starts, of))
        step_s = self.ramp_s / max(self.starts, 1)
        return replace(
            self,
            ramp_s=step_s * of * starts,
            ramp_from_s=self.ramp_from_s + step_s * first,
            requests=waves * len(range(first, wave, of)) + len(range(first, rest, of)),
            concurrency=len(range(first, self.concurrency, of)),
            schedule=None if self.schedule is None else self.schedule[first::of],
        )
