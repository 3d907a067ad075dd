"""The reader that takes a log line by line and remembers the first specific cause of a failure.

It looks at every line once and keeps little, so that a cause is found no matter how far above the end it
stands. It knows what comes from wrappers, frames of tracebacks, warnings, and attempts that were given up for
another, and takes none of these for a cause.
"""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pytest_dsr1.process.log import gpus, kinds, launch, memory, software
from pytest_dsr1.process.log.cause import Cause
from pytest_dsr1.process.log.family import Family
from pytest_dsr1.process.log.lines import LogLine, plain_line, without_escapes
from pytest_dsr1.process.log.signals import stated_signal
from pytest_dsr1.process.log.telling import DullLines, tells
from pytest_dsr1.text import quoted

KEPT_LINES = 400
"""The last lines that are kept."""
SHOWN_LINES = 8
"""Lines of the log that a message repeats."""
_SHOWN_CHARACTERS = 300
_NEAR = 3
"""Telling lines within which a program says that it goes on without what just failed."""
_ANSWERED = 3
"""Answers of a server after which an error was one request's own."""
_LONGEST_FENCE = 1_000
"""Lines after which text that a model has written is over in any case."""

FAMILIES = (*launch.FAMILIES, *memory.FAMILIES, *gpus.FAMILIES, *software.FAMILIES)

Phase = Literal["starting", "loading", "preparing", "running"]

_RELEVANT = re.compile(
    r"[Ee]rror|ERROR|[Ee]xception|out of memory|[Kk]illed|[Ss]ignal|[Aa]bort|interrupt|not permitted"
    r"|CANCELLED|NCCL WARN|direct launched|slots available|already filled"
)
_RUNNING = re.compile(r"Starting benchmark\.\.\.|Application startup complete|fired up and ready")
_PREPARING = re.compile(
    r"[Ll]oad.*\b100%|(?:[Mm]odel|[Ww]eights?) load(?:ing|ed)?.* (?:took|done)|Loading weights took"
    r"|KV [Cc]ache (?:size|pages|is allocated)|[Cc]apturing|CUDA [Gg]raph|\[?(?:Autotun|AutoTun|autotun)"
    r"|[Ww]arm(?:ing|-?up)"
)
_LOADING = re.compile(
    r"[Ll]oading (?:weights|safetensors|checkpoint|model|pt )|load(?:ing)? (?:the )?model|[Pp]refetching"
)
_LOADING_CODE = re.compile(
    r"load_single_module|load_weights|create_weights|initialize_model\b|in load_model\b"
)
_LOCATION = re.compile(r"[\w.\[\]<>-]+$")
_DETAIL = re.compile(r"\s+(.+?)(?: \[type=(\w+).*)?$")
_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")
_DASHES = re.compile(r"-{20,}$")
_BEFORE_CAUSE = re.compile(
    r"^.*?(?:Failed to initialize executor on rank \d+|Error executing \w+(?: with args \([^)]*\))?"
    r"|hit an exception|failed with (?:error|exception)): (?:\[TensorRT-LLM\]\[ERROR\] )?"
)


class LogReader:
    """A reader of one log.

    Attributes:
        last: the last lines.
        phase: the phase that the log is in.
        count: the lines read.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self.phase: Phase = "starting"
        self.count = 0
        self._relevant: deque[str] = deque(maxlen=SHOWN_LINES)
        self._dull = DullLines()
        self._skip_exception = False
        self._loading_code = False
        self._detail_of: Cause | None = None
        self._location = ""
        self._fenced = 0
        self._answered = 0
        self._in_block = False
        self._block_begins = False
        self._since = 0
        """Telling lines since the last cause."""
        self._reset()
        for line in lines:
            self.take(line)

    def _reset(self) -> None:
        self._stated: Cause | None = None
        self._first: Cause | None = None
        self._early: Cause | None = None
        self._consequence: Cause | None = None
        self._aftermath: Cause | None = None
        self._signal: Cause | None = None
        self._complaint: Cause | None = None
        self._newest: Cause | None = None

    def take(self, text: str) -> None:
        """Read one line."""
        self.count += 1
        self.last.append(text)
        if self._fenced:
            self._fenced = 0 if kinds.FENCE_END.search(text) else self._fenced - 1
        elif self._awaits_more():
            self._read(text)
        else:
            known = self._first is not None or self._stated is not None
            if tells(text, known=known):
                self._read(text)
            elif known and _RELEVANT.search(text) and 'File "' not in text:
                self._relevant.append(text)

    def _awaits_more(self) -> bool:
        """Return whether the next line may belong to what was read last, whatever it says."""
        new = self._newest is not None and self._since < _NEAR
        return new or self._detail_of is not None or self._block_begins

    def enter(self, phase: Phase) -> None:
        """Begin a phase that every process has reached; what the log complained about before did no harm."""
        self.phase = phase
        if phase == "running":
            self._reset()
            self._relevant.clear()

    @property
    def cause(self) -> Cause | None:
        """The first specific cause, else the first consequence that it knows; None if the log shows none."""
        number = None if self._signal is None else self._signal.number
        ends = (
            (self._consequence, self._signal)
            if number == signal.SIGABRT
            else (self._signal, self._consequence)
        )
        return self.specific or ends[0] or ends[1] or self._aftermath

    @property
    def specific(self) -> Cause | None:
        """The first specific cause; None without one."""
        return self._stated or self._first or self._early

    @property
    def complaint(self) -> str | None:
        """The first line that calls itself an error, which may or may not be the cause."""
        return None if self._complaint is None else self._complaint.text

    @property
    def hopeless(self) -> bool:
        """Whether nothing more can come after what the log shows."""
        cause = self.specific
        return cause is not None and cause.family is not None and cause.family.final

    def shown(self) -> list[str]:
        """Return the lines that a message repeats: the cause, then the last telling ones, at most eight."""
        rows = list(self._relevant)
        if (cause := self.cause) is not None:
            others = [row for row in rows if row != cause.raw]
            rows = [cause.raw, *others[-(SHOWN_LINES - 1) :]]
        rows = rows or [line for line in self.last if line.strip()][-SHOWN_LINES:]
        return [without_escapes(row).rstrip()[:_SHOWN_CHARACTERS] for row in rows]

    def quoted(self, path: Path) -> str:
        """Return the lines that a message repeats, as they stand under it.

        Args:
            path: the file with the whole log.
        """
        lines = quoted(self.shown())
        return f"\nThe relevant lines of {path}:{lines}" if lines else f"\nNothing was logged in {path}."

    def _read(self, raw: str) -> None:
        if (raw not in self._dull or self._awaits_more()) and self._shows_nothing(raw):
            self._dull.add(raw)

    def _shows_nothing(self, raw: str) -> bool:
        """Take a line; return whether every line like it can be left out from now on."""
        line = plain_line(raw)
        if self._detail_of is not None and self._took_detail(line):
            return False
        if self._took_block(line):
            return False
        self._follow_phase(line.text)
        if kinds.FRAME.match(line.text) and not kinds.WHAT.match(line.text) and not software_line(line.text):
            self._loading_code = self._loading_code or bool(_LOADING_CODE.search(line.text))
            return False
        if kinds.FENCE.match(line.text):
            self._fenced = _LONGEST_FENCE
            return False
        if self._served(line.text):
            return False
        if line.text.startswith("Exception ignored in"):
            self._skip_exception = True
            return False
        if kinds.HEADER.match(line.text):
            if line.text.startswith("Traceback"):
                self._loading_code = False
            if line.text.startswith("During handling"):
                self._give_up(generic_only=True)
            return False
        self._since += 1
        if kinds.RECOVERED.search(line.text) and self._since <= _NEAR:
            self._give_up(generic_only=False)
        if _RELEVANT.search(raw) and not line.calm:
            self._relevant.append(raw)
        return bool(kinds.HARMLESS.search(line.text)) or self._look(line, raw)

    def _look(self, line: LogLine, raw: str) -> bool:
        """Take a line that may show a cause; return whether it shows nothing."""
        family = next(
            (each for each in FAMILIES if (each.calm or not line.calm) and each.pattern.search(line.text)),
            None,
        )
        text = _BEFORE_CAUSE.sub("", line.text).strip()
        loading = self.phase == "loading" or self._loading_code or bool(_LOADING_CODE.search(line.text))
        cause = Cause(text, raw, family, loading=loading)
        if family is not None and family.kind == "stated":
            self._stated = self._stated or cause
            return False
        number = None if line.calm else stated_signal(line.text)
        if number is not None and (family is None or family.kind in {"consequence", "aftermath"}):
            # SIGTERM and SIGINT are what launchers send to the rest.
            if self._signal is None and number not in {signal.SIGTERM, signal.SIGINT}:
                self._signal = replace(cause, family=None, number=number)
            return False
        if family is not None and family.kind == "consequence":
            self._consequence = self._consequence or cause
        elif family is not None and family.kind == "aftermath":
            self._aftermath = self._aftermath or cause
        elif family is not None:
            self._known(family, cause, line)
        else:
            return line.calm or not self._unknown(line, cause)
        return False

    def _known(self, family: Family, cause: Cause, line: LogLine) -> None:
        if self._skip_exception and kinds.EXCEPTION.match(line.text):
            self._skip_exception = False
            return
        if family.name == software.OPTION:
            cause = self._option(cause)
        self._newest, self._since, self._answered = cause, 0, 0
        if family.kind == "early":
            self._early = self._early or cause
        elif self._first is None:
            self._first = cause
            if family.name == software.OPTION and cause.option is None:
                self._detail_of, self._location = cause, ""

    def _unknown(self, line: LogLine, cause: Cause) -> bool:
        """Take a line that no family knows; return whether it is an exception or calls itself an error."""
        what = kinds.WHAT.match(line.text)
        exception = kinds.EXCEPTION.match(line.text)
        inside = None if exception or line.level != "error" else kinds.INSIDE.search(line.text)
        if exception and self._skip_exception:
            self._skip_exception = False
        elif what or exception or inside or kinds.ASSERTION.match(cause.text):
            cause = replace(cause, text=what[1] if what else inside[0] if inside else cause.text)
            if kinds.PASSED_ON.search(line.text):
                self._complaint = self._complaint or cause
            else:
                self._newest, self._since, self._answered = cause, 0, 0
                self._first = self._first or cause
        elif (line.level == "error" and line.text.strip()) or kinds.COMPLAINT.search(line.text):
            self._complaint = self._complaint or cause
        else:
            return False
        return True

    def _option(self, cause: Cause) -> Cause:
        """Return the cause with the option that it refuses, if this line or the one before names it."""
        if found := _KEYWORD.search(cause.text):
            return replace(cause, option=found[1], unknown_option=True)
        before = plain_line(self.last[-2]).text if len(self.last) > 1 else ""
        detail = _DETAIL.match(self._indented(cause.raw))
        if detail and _LOCATION.match(before) and "validation error" not in cause.text:
            return replace(
                cause,
                text=f"{before}: {detail[1]}",
                option=before,
                unknown_option="Extra inputs" in detail[1],
            )
        return cause

    @staticmethod
    def _indented(raw: str) -> str:
        return plain_line(raw).text

    def _took_detail(self, line: LogLine) -> bool:
        """Take a line below pydantic's ``validation error for``; return whether it belongs there."""
        asked = self._detail_of
        assert asked is not None
        if detail := _DETAIL.match(line.text):
            if not detail[1].startswith("For further information"):
                where = f"{self._location}: " if self._location else ""
                better = replace(
                    asked,
                    text=f"{where}{detail[1]}",
                    option=self._location or None,
                    unknown_option=detail[2] == "extra_forbidden" or "Extra inputs" in detail[1],
                )
                self._first = better if self._first is asked else self._first
                self._newest = better if self._newest is asked else self._newest
                self._detail_of = None
            return True
        if _LOCATION.match(line.text):
            self._location = line.text
            return True
        self._detail_of = None
        return False

    def _took_block(self, line: LogLine) -> bool:
        """Take the first line between two rules of dashes, where Open MPI explains what went wrong."""
        if _DASHES.match(line.text):
            self._in_block = self._block_begins = not self._in_block
            return True
        if self._block_begins and line.text.strip():
            self._block_begins = False
            if self._complaint is None and not re.match(r"WARNING|By default|MIN:|\s", line.text):
                self._complaint = Cause(line.text, self.last[-1])
        return False

    def _follow_phase(self, text: str) -> None:
        if _RUNNING.search(text):
            self.enter("running")
        elif self.phase in {"starting", "loading"} and _PREPARING.search(text):
            self.phase = "preparing"
            self._early = None
        elif self.phase == "starting" and _LOADING.search(text):
            self.phase = "loading"
            self._early = None

    def _served(self, text: str) -> bool:
        """Forget an unknown error if a server refuses that request, or goes on to answer others."""
        if kinds.REFUSED.search(text):
            self._give_up(generic_only=True)
            return True
        if kinds.ANSWERED.search(text):
            self._answered += 1
            if self._answered >= _ANSWERED:
                self._give_up(generic_only=True)
            return True
        return False

    def _give_up(self, *, generic_only: bool) -> None:
        """Forget the newest cause: the program went on, or says more in the next exception."""
        newest, self._newest = self._newest, None
        if newest is None:
            return
        known = newest.family is not None and newest.family.kind == "cause"
        if generic_only and known:
            return
        if self._first is newest:
            self._first = None
        if self._early is newest:
            self._early = None


def software_line(text: str) -> bool:
    """Return whether an indented line is pydantic's word about an option."""
    return bool(
        re.match(r"\s+(?:Extra inputs are not permitted|Input should be |Field required|Value error, )", text)
    )
