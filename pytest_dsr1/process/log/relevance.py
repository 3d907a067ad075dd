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
    "using network",
    "init complete",
    "model init",
    "memory pool",
    "capture",
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
    *("must be", "[e]", "denied", "notfound", "expired", "unauth", "fatal", "manifest", "panic", "exec"),
    *("alloc", "nvls", "multicast", "too many", "limit", "supported", "smaller", "unrec", "ninja"),
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
_INFORMS = (" INFO ", "[I]", "[INFO]", " INFO:")
_INFORMS_FIRST = ("INFO ", "INFO:", "info ", "info:")
_LONGEST_PREFIX = 160
_PROSE = re.compile(r"[a-z] [a-z]|: [A-Za-z]|rror|xception|ailed")
"""What stands in a sentence, but not in what wrappers and loggers put before one."""
_NUMBERS = re.compile(r"\d{3,}(?:\.\d+)?|\d\d[:/-]\d\d(?:[:/-]\d\d)?")
_MOST_DULL = 10_000


def is_relevant(text: str, *, known: bool) -> bool:
    """Return whether a line can show anything.

    Args:
        text: the line.
        known: whether a cause is known already, so that only a new phase or a launcher's word matters.
    """
    lower = text.lower()
    for word in _MARKS if known else _PHASE_WORDS if _informs(text) else _WORDS:  # noqa: SIM110 - any() takes longer
        if word in lower:
            return True
    return False


def _informs(text: str) -> bool:
    """Return whether the level before a line's text calls it information."""
    if text.startswith(_INFORMS_FIRST):
        return True
    for mark in _INFORMS:
        at = text.find(mark, 0, _LONGEST_PREFIX)
        if at >= 0:
            return _PROSE.search(text, 0, at) is None
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
