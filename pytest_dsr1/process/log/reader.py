"""The reader that takes a log line by line and remembers the first specific cause of a failure.

It looks at every line once and keeps little, so that a cause is found no matter how far above the end it
stands. It knows what comes from wrappers, frames of tracebacks, warnings, and attempts that were given up for
another, and takes none of these for a cause.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pytest_dsr1.process.log import gpus, kinds, launch, memory, software
from pytest_dsr1.process.log.cause import Cause, Phase
from pytest_dsr1.process.log.family import Family
from pytest_dsr1.process.log.findings import Findings
from pytest_dsr1.process.log.lines import LogLine, plain_line, without_escapes
from pytest_dsr1.process.log.relevance import DullLines, is_relevant
from pytest_dsr1.process.log.signals import stated_signal, without_guesses
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
_LONGEST_TRACEBACK = 300
"""Lines after which a traceback is over in any case."""

FAMILIES = (*launch.FAMILIES, *memory.FAMILIES, *gpus.FAMILIES, *software.FAMILIES)

_PHASES: tuple[Phase, ...] = ("starting", "loading", "preparing", "running")
_RELEVANT = re.compile(
    r"[Ee]rror|ERROR|[Ee]xception|out of memory|[Kk]illed|[Ss]ignal|[Aa]bort|interrupt|not permitted"
    r"|CANCELLED|NCCL WARN|direct launched|slots available|already filled"
)
_LOCATION = re.compile(r"[\w.\[\]<>-]+$")
_DETAIL = re.compile(r"\s+(?:Value error, (?=\S))?(.+?)(?: \[type=(\w+).*)?$")
_KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")
_KEPT = re.compile(f"{kinds.WHAT.pattern}|{kinds.INDENTED.pattern}")
_DASHES = re.compile(r"-{20,}$")


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
        self._traceback = 0
        """Lines of a traceback that may still come before its exception; 0 outside of one."""
        self._warned = False
        """Whether this traceback belongs to a warning."""
        self._since = 0
        """Telling lines since the last cause."""
        self._found = Findings()
        for line in lines:
            self.take(line)

    def take(self, text: str) -> None:
        """Read one line."""
        self.count += 1
        self.last.append(text)
        if self._fenced:
            self._fenced = 0 if kinds.FENCE_END.search(text) else self._fenced - 1
        elif self._awaits_more():
            self._read(text)
        else:
            known = self._found.settled
            if is_relevant(text, known=known):
                self._read(text)
            elif known and _RELEVANT.search(text) and 'File "' not in text:
                self._relevant.append(text)

    def _awaits_more(self) -> bool:
        """Return whether the next line may belong to what was read last, whatever it says."""
        new = self._found.newest is not None and self._since < _NEAR
        return new or self._detail_of is not None or self._block_begins or self._traceback > 0

    def enter(self, phase: Phase) -> None:
        """Begin a phase that every process has reached; what the log complained about before did no harm."""
        self.phase = phase
        if phase == "running":
            self._found = Findings()
            self._relevant.clear()

    @property
    def found(self) -> Findings:
        """What the log has shown so far."""
        return self._found

    @property
    def cause(self) -> Cause | None:
        """The first specific cause, else the first consequence that it knows; None if the log shows none."""
        return self._found.cause

    @property
    def hopeless(self) -> bool:
        """Whether nothing more can come after what the log shows."""
        cause = self._found.specific
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
        if kinds.FRAME.match(line.text) and not _KEPT.match(line.text):
            self._loading_code = self._loading_code or bool(kinds.LOADING_CODE.search(line.text))
            self._traceback = max(0, self._traceback - 1)
            return False
        self._follow_phase(line)
        if kinds.FENCE.match(line.text):
            self._fenced = _LONGEST_FENCE
            return False
        if self._served(line.text):
            return False
        if line.text.startswith("Exception ignored in"):
            self._skip_exception = True
            return False
        if kinds.HEADER.match(line.text):
            self._begin(line.text)
            return False
        if line.text.endswith(kinds.TRACEBACK):
            self._begin(kinds.TRACEBACK)
        self._since += 1
        if kinds.RECOVERED.search(line.text) and self._since <= _NEAR:
            self._found.give_up(generic_only=False)
        if kinds.JOINED.search(line.text):
            self._found.joined()
        if _RELEVANT.search(raw) and not line.calm:
            self._relevant.append(raw)
        if kinds.HARMLESS.search(line.text) and not launch.WAITS.search(line.text):
            self._found.warned = self._found.warned or _complains(line.text)
            return True
        return self._look(line, raw)

    def _begin(self, header: str) -> None:
        """Take the heading of a traceback, or of another part of one."""
        if header.startswith("Traceback"):
            self._loading_code = False
            self._traceback = _LONGEST_TRACEBACK
            before = plain_line(self.last[-2]) if len(self.last) > 1 else LogLine("")
            self._warned = before.calm and before.text.endswith(":")
        if header.startswith("During handling"):
            self._found.give_up(generic_only=True)

    def _look(self, line: LogLine, raw: str) -> bool:
        """Take a line that may show a cause; return whether it shows nothing."""
        text = kinds.BEFORE_CAUSE.sub("", line.text).strip()
        raised = bool(self._traceback and line.text.strip() and kinds.RAISED.match(text))
        calm = line.calm or (raised and self._warned)
        said = without_guesses(line.text)
        family = _family(said, text if len(said) == len(line.text) else said, calm=calm)
        loading = self.phase == "loading" or self._loading_code or bool(kinds.LOADING_CODE.search(line.text))
        cause = Cause(text, raw, family, phase=self.phase, loading=loading)
        if raised:
            self._traceback = 0
        number = None if calm else stated_signal(line.text)
        if number is not None and (family is None or family.kind in {"consequence", "aftermath"}):
            self._found.killed(replace(cause, family=None, number=number))
        elif family is not None and family.kind in {"cause", "early"}:
            self._known(family, cause, line)
        elif family is not None:
            self._found.known(cause)
        else:
            if calm:
                self._found.warned = self._found.warned or _complains(line.text)
            return calm or not self._unknown(line, cause, raised=raised)
        return False

    def _known(self, family: Family, cause: Cause, line: LogLine) -> None:
        if self._skip_exception and kinds.EXCEPTION.match(line.text):
            self._skip_exception = False
            return
        if family.name == software.OPTION:
            cause = self._option(cause)
        self._since, self._answered = 0, 0
        self._found.known(cause)
        if family.name == software.OPTION and cause.option is None and self._found.first is cause:
            self._detail_of, self._location = cause, ""

    def _unknown(self, line: LogLine, cause: Cause, *, raised: bool) -> bool:
        """Take a line that no family knows; return whether it is an exception or reads like an error."""
        what = kinds.WHAT.match(line.text)
        exception = raised or kinds.EXCEPTION.match(cause.text)
        inside = None if exception or line.level != "error" else kinds.INSIDE.search(line.text)
        if exception and self._skip_exception:
            self._skip_exception = False
        elif what or exception or inside or kinds.ASSERTION.match(cause.text):
            cause = replace(cause, text=what[1] if what else inside[0] if inside else cause.text)
            if kinds.PASSED_ON_CLASS.match(cause.text) or kinds.PASSED_ON.search(line.text):
                self._found.complained(cause, by="passed on")
            else:
                self._since, self._answered = 0, 0
                self._found.unknown(cause)
        elif line.level == "error" and line.text.strip():
            self._found.complained(cause, by="error")
        elif kinds.COMPLAINT.search(line.text):
            self._found.complained(cause, by="launcher")
        elif kinds.SUSPECT.search(line.text):
            self._found.complained(cause, by="suspect")
        else:
            return False
        return True

    def _option(self, cause: Cause) -> Cause:
        """Return the cause with the option that it refuses, if this line or the one before names it."""
        if found := _KEYWORD.search(cause.text):
            return replace(cause, option=found[1], unknown_option=True)
        before = plain_line(self.last[-2]).text if len(self.last) > 1 else ""
        detail = _DETAIL.match(plain_line(cause.raw).text)
        if detail and _LOCATION.match(before) and "validation error" not in cause.text:
            return replace(
                cause,
                text=f"{before}: {detail[1]}",
                option=before,
                unknown_option="Extra inputs" in detail[1],
            )
        return cause

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
                    family=_family(detail[1], detail[1], calm=False) or asked.family,
                    option=self._location or None,
                    unknown_option=detail[2] == "extra_forbidden" or "Extra inputs" in detail[1],
                )
                self._found.improve(asked, better)
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
            if not line.calm and not re.match(r"WARNING|By default|MIN:|\s", line.text):
                self._found.complained(Cause(line.text, self.last[-1], phase=self.phase), by="launcher")
        return False

    def _follow_phase(self, line: LogLine) -> None:
        if line.level == "error" or kinds.EXCEPTION.match(line.text) or kinds.SUSPECT.search(line.text):
            return
        phase = kinds.phase_of(line.text)
        if phase == "running":
            self.enter("running")
        elif phase is not None and _PHASES.index(phase) > _PHASES.index(self.phase):
            self.phase = phase
            self._found.advance()

    def _served(self, text: str) -> bool:
        """Forget an unknown error if a server refuses that request, or goes on to answer others."""
        if kinds.REFUSED.search(text):
            self._found.give_up(generic_only=True)
            return True
        if kinds.ANSWERED.search(text):
            self._answered += 1
            if self._answered >= _ANSWERED:
                self._found.give_up(generic_only=True)
            return True
        return False


def _complains(text: str) -> bool:
    return bool(kinds.SUSPECT.search(text) or kinds.EXCEPTION.match(text))


def _family(said: str, text: str, *, calm: bool) -> Family | None:
    """Return the family of a line, with or without what stands before its cause."""
    for each in FAMILIES:
        if (each.calm or not calm) and (
            each.pattern.search(said) or (text != said and each.pattern.search(text))
        ):
            return each
    return None
