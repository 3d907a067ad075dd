"""What an engine reports while it runs: phases, progress, and a record of each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Phase = Literal["starting", "loading", "warm-up", "measuring", "finishing"]


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """A request's times inside the engine, in seconds on the host's monotonic clock.

    All of them are kept with the result for the user, also those that nothing here reads.

    Attributes:
        arrival_s: when the engine took it; before ``first_scheduled_s`` it waits in the engine's queue, and
            from then to ``first_token_s`` it is read (prefill).
    """

    arrival_s: float
    first_scheduled_s: float
    first_token_s: float
    last_token_s: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. Times are seconds on the host's monotonic clock (``time.monotonic``).

    Attributes:
        id: the request's place in the dataset, from 0.
        submitted_s: when it was handed to the engine, after it got its concurrency slot.
        first_token_s: when its first token was seen; None where the engine does not stream.
        last_token_s: when its last token was seen.
        input_tokens: tokens in.
        output_tokens: tokens out.
        decoding_iterations: steps that made them; fewer than tokens with MTP; None where unknown.
        error: why it failed; None if it did not.
        scheduled_s: when it was due in an open loop; its latency counts from here. None in a closed loop.
        events: events of the stream that carried tokens; None where the engine has no such thing.
        engine: its times inside the engine, where it tells them.
        resent: whether it was sent a second time: the server closed the kept connection just as it was sent.
    """

    id: int
    submitted_s: float
    first_token_s: float | None
    last_token_s: float
    input_tokens: int
    output_tokens: int
    decoding_iterations: int | None = None
    error: str | None = None
    scheduled_s: float | None = None
    events: int | None = None
    engine: EngineTimes | None = None
    resent: bool = False

    @property
    def start_s(self) -> float:
        """From when its latency counts: waiting on our side of an open loop is the server's doing too."""
        return self.submitted_s if self.scheduled_s is None else self.scheduled_s


Enough = Callable[[RequestRecord], bool]
"""Asked after each request that ended, or failed, whether the measurement has shown what it should."""


class Observer(Protocol):
    """Who watches a run: the progress line and the result that is written as the run goes."""

    def phase(self, phase: Phase, detail: str = "") -> None:
        """A new phase began; ``detail`` is what the engine last said about it."""

    def progress(self, requests: int, output_tokens: int) -> None:
        """So many measured requests, and output tokens, are done so far."""

    def record(self, record: RequestRecord) -> None:
        """A measured request ended."""
