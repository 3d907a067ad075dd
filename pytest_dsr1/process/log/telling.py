"""Which lines are looked at, so that a log of many lines costs little."""

from __future__ import annotations

import re

_PHASE_WORDS = (
    "load",
    "capturing",
    "autotun",
    "startup c",
    "benchmark",
    "warm",
    "kv cache",
    "fired up",
    "http/",
    "interrupt",
)
"""A line of information without any of these words, in lower case, shows nothing."""
_WORDS = (
    *_PHASE_WORDS,
    *("err", "exce", "fail", "memory", "oom", "kill", "signal", "abort", "n't", "cancel", "unable", "valid"),
    *("exit", "fault", "died", "dead", "refus", "mpi", "slot", "assert", "match", "xid", "cuda", "divisible"),
    *("traceback", "termin", "time", "dump", "libgomp", "trust_", "lost", "generated", "larger", "greater"),
    *(
        "quota",
        "nvcc",
        "gpu",
        "what()",
        "-----",
        "not ",
        "no ",
        "nccl warn",
        "use",
        "srun",
        "host key",
        "ssh:",
    ),
    *("must be", "[e]", "nvls", "multicast", "too many", "limit", "supported", "smaller", "unrec", "ninja"),
)
"""A line without any of these cannot show anything. A loop over words is ten times as fast as a pattern."""
_MARKS = (
    *(
        "startup complete",
        "starting benchmark",
        "fired up",
        "cancelled at",
        "node_fail",
        "node failure",
        "http/",
    ),
)
"""The words that still matter once there is a cause."""
_NUMBERS = re.compile(r"\d{3,}(?:\.\d+)?|\d\d[:/-]\d\d(?:[:/-]\d\d)?")
_MOST_DULL = 10_000


def tells(text: str, *, known: bool) -> bool:
    """Return whether a line can show anything.

    Args:
        text: the line.
        known: whether a cause is known already, so that only a new phase or a launcher's word matters.
    """
    lower = text.lower()
    informs = " info " in lower or "[i]" in lower or lower.startswith("info")
    for word in _MARKS if known else _PHASE_WORDS if informs else _WORDS:  # noqa: SIM110 - any() takes longer
        if word in lower:
            return True
    return False


class DullLines:
    """Lines that showed nothing; a line that differs only in long numbers shows nothing either."""

    def __init__(self) -> None:
        self._shapes: set[str] = set()

    def __contains__(self, text: str) -> bool:
        return _NUMBERS.sub("0", text) in self._shapes

    def add(self, text: str) -> None:
        """Remember a line, up to a number of them."""
        if len(self._shapes) < _MOST_DULL:
            self._shapes.add(_NUMBERS.sub("0", text))
