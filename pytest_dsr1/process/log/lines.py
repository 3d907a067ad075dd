"""A line of a log without what launchers and loggers put before it."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 4_000
"""The characters of a line that are looked at; a cause stands at its start."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LEVEL = r"(?P<level>DEBUG|INFO|NOTICE|WARNING|WARN|ERROR|CRITICAL|FATAL|SEVERE|[DIWEF])"
_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"

# Each takes at most one space after it, because the indentation of a traceback's frames must be kept.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        # NCCL: node1:21858:21858 [2] misc/shmutils.cc:113 NCCL WARN; the words NCCL WARN stay.
        r"[\w.-]+:\d+:\d+ \[-?\d+\] (?:[\w/.]+:\d+ )?(?=NCCL )",
        # Wrappers that run a command: docker compose, srun --label, Open MPI --tag-output and
        # --timestamp-output, PRRTE, torchrun, Ray, kubectl logs --prefix, pdsh.
        r"[\w.-]+ *\| ?",
        r" {1,8}\| (?=\S| {2})",  # an exception group of Python 3.11
        r" *\d{1,5}: ?(?=\S|  |$)",
        r"(?:\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})?(?:\[[\w@,.:-]*\d+,\d+\])?<(?:stdout|stderr"
        r"|stddiag)>: ?",
        r"\[(?:[Rr]ank ?|RANK |default)\d+\]:? ?",
        r"\([\w. :-]+? pid=\d+(?:, ip=[\w.:]+)?\) ?",
        r"\[pod/[^\]\s]+\] ?",
        r"[a-z][\w.-]*\d: ?(?=\S|  )",
        # TensorRT-LLM: [11/29/2025-10:26:10] [TRT-LLM] [RANK 7] [E] and [TensorRT-LLM][ERROR].
        rf"\[\d\d/\d\d/\d{{4}}-{_CLOCK}\] ?",
        r"\[(?:TRT-LLM|TensorRT-LLM|TRT|AutoDeploy)\] ?",
        rf"\[{_LEVEL}\] ?",
        # vLLM: ERROR 12-29 15:21:50 [core.py:866], before 0.9 without the first bracket.
        rf"{_LEVEL} \d\d-\d\d {_CLOCK} \[?[\w./-]+:\d+\] ?",
        # SGLang: [2025-11-28 10:26:10 TP0].
        rf"\[{_TIME}(?: [A-Z]+\d+)*\] ?",
        # Logger formats of Python: time - LEVEL - name, time - name - LEVEL, LEVEL:name:, time LEVEL name:.
        rf"{_TIME} - {_LEVEL} - (?:[\w.]+:\d+ - )?(?:[\w.]+: ?|[\w.]+ - )?",
        rf"{_TIME} - [\w.]+ - {_LEVEL} - ",
        rf"{_TIME}[ |]+{_LEVEL}[ |]+(?:[\w.:-]+(?:: | - ))?",
        rf"{_TIME} (?:stdout|stderr) [FP] ",
        rf"{_TIME} ?",
        rf"{_LEVEL}:[\w.]+:",
        rf"{_LEVEL}: +(?=\[Errno|\S)",
        rf"\w{{3}} [ \d]\d {_CLOCK} [\w.-]+ [\w./-]+(?:\[\d+\])?: ?",
        # glog, also in brackets by PyTorch: [E1128 10:26:10.123456 1234 ProcessGroupNCCL.cpp:629].
        rf"\[?{_LEVEL}\d{{3,4}} [\d:.]+ +(?:\d+ )?[\w./-]+:\d+\] ?",
        # Open MPI and its signal handler: [node1:12345]; MPICH and torch: [3], [Rank 3].
        r"\[[A-Za-z][\w.-]*:\d+\] ?",
        r"\[(?:Rank )?\d{1,5}\]:? ?",
    )
)
_LETTERS = {"D": "debug", "I": "info", "W": "warning", "E": "error", "F": "error"}
_WORDS = {
    "DEBUG": "debug",
    "INFO": "info",
    "NOTICE": "info",
    "WARN": "warning",
    "WARNING": "warning",
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line without its prefixes.

    Attributes:
        text: the rest, with the indentation that the program itself wrote.
        level: ``debug``, ``info``, ``warning`` or ``error``; empty if the line does not say it.
    """

    text: str
    level: str = ""

    @property
    def calm(self) -> bool:
        """Whether its writer says that it is not about an error."""
        return self.level in {"debug", "info", "warning"}


def plain_line(text: str) -> LogLine:
    """Return a line without escape sequences and without every prefix that a wrapper or logger adds."""
    text, level = without_escapes(text[:LONGEST]), ""
    for _ in range(12):  # srun, docker compose, a worker's name, a time, a logger: never more than that
        found = next((match for prefix in _PREFIXES if (match := prefix.match(text))), None)
        if found is None or not found.end():
            break
        if said := found.groupdict().get("level"):
            level = _LETTERS.get(said) or _WORDS.get(said, "error")
        text = text[found.end() :]
    return LogLine(text.rstrip(), level)


def without_escapes(text: str) -> str:
    """Return the text without the sequences that color a terminal or move its cursor."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text
