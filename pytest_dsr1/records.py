"""The reports of a running engine: phases, progress, a record of each request, and answers to questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from pytest_dsr1.text import writable

Phase = Literal["starting", "loading", "warm-up", "measuring", "finishing"]


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """A request's times inside the engine, in seconds on the host's monotonic clock.

    All of them are saved with the result, also those that this package does not read.

    Attributes:
        arrival_s: when the engine received it. Until ``first_scheduled_s`` it waits in the engine's queue;
            from then to ``first_token_s`` its prompt is read (prefill).
    """

    arrival_s: float
    first_scheduled_s: float
    first_token_s: float
    last_token_s: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. Times are seconds on the host's monotonic clock (``time.monotonic``).

    Attributes:
        id: the request's position in the dataset, from 0.
        submitted_s: when it was handed to the engine, after it got its concurrency slot.
        first_token_s: when its first token was seen; None if the engine does not stream.
        last_token_s: when its last token was seen.
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the answer.
        decoding_iterations: steps that made the output tokens, fewer than these with MTP; None if unknown.
        error: why it failed; None if it succeeded.
        scheduled_s: when it was due in an open loop; its latency counts from here. None in a closed loop.
        events: number of stream events with tokens; None if the engine has no such events.
        engine: its times inside the engine, if the engine reports them.
        resent: whether it was sent twice, because the server closed the idle connection while it was sent.
        server: the position of its server in `engine.url`, from 0, if that is a list.
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
    server: int | None = None

    @property
    def start_s(self) -> float:
        """The start of its latency: in an open loop, waiting before it is sent also counts."""
        return self.submitted_s if self.scheduled_s is None else self.scheduled_s


@dataclass(frozen=True, slots=True)
class Question:
    """One question, answered after the measured part by greedy sampling.

    Attributes:
        id: ``NAME/N``: the name in the test ``accuracy[NAME]``, and a number from 0.
        prompt: token ids, or text.
        max_output_tokens: the most tokens of the answer; exactly as many unless it ``ends``.
        ends: whether the end token ends the answer.
    """

    id: str
    prompt: tuple[int, ...] | str
    max_output_tokens: int
    ends: bool


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions that are asked together; several sets are asked one at a time.

    Attributes:
        questions: asked in this order.
        at_once: the most of them that are in the engine at the same time.
    """

    questions: tuple[Question, ...]
    at_once: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        id: of the question.
        tokens: its token ids; None if the engine does not return them.
        text: None if the engine does not return it.
        error: why there is no answer; None if there is one.
        cut: whether a limit of tokens ended an answer that should have ended by itself.
    """

    id: str
    tokens: tuple[int, ...] | None = None
    text: str | None = None
    error: str | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        """Replace what no file can hold: halves of surrogate pairs, which JSON of a server may have."""
        if isinstance(self.text, str):
            object.__setattr__(self, "text", writable(self.text))


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question with its answer, as a result keeps it.

    Attributes:
        prompt: the text; None if the question had token ids.
        expected: the right answer; None if none is known.
        answer: with the question's id. A question that was never asked has an error.
    """

    prompt: str | None
    expected: str | None
    answer: Answer

    @property
    def test(self) -> str:
        """The name in the test ``accuracy[NAME]``."""
        return self.answer.id.rpartition("/")[0]


Enough = Callable[[RequestRecord], bool]
"""Returns, after each request that ended or failed, whether the measurement can stop."""


class Observer(Protocol):
    """An observer of a run: the progress line, and the result that is written during the run."""

    def phase(self, phase: Phase, detail: str = "") -> None:
        """Note that a phase began; ``detail`` is the engine's last message about it."""

    def progress(self, requests: int, output_tokens: int) -> None:
        """Note how many measured requests and output tokens are done."""

    def record(self, record: RequestRecord) -> None:
        """Note that a measured request ended."""
