"""What a log has shown so far, and which of it is the cause of a failure."""

from __future__ import annotations

import signal
from typing import Literal

from pytest_dsr1.process.log.cause import Cause
from pytest_dsr1.process.log.gpus import NCCL, NCCL_NETWORK
from pytest_dsr1.process.log.launch import CANCELLED, STEP_BUSY


class Findings:
    """The first finding of each kind.

    Attributes:
        first: the first cause; one that no family knows, or that can be survived, until a better one comes.
        stated: what a launcher states as the reason of the end.
        aftermath: what is always said after a failure.
        ended: the line that says that a launcher or engine ends its other processes.
        error: the first line that calls itself an error, which may or may not be the cause.
        newest: the newest cause.
        warned: whether there was a complaint that its writer calls a warning, or went on without.
    """

    def __init__(self) -> None:
        self.first: Cause | None = None
        self.stated: Cause | None = None
        self.aftermath: Cause | None = None
        self.ended: Cause | None = None
        self.error: Cause | None = None
        self.newest: Cause | None = None
        self.warned = False
        self._early: Cause | None = None
        self._consequence: Cause | None = None
        self._signal: Cause | None = None
        self._passed_on: Cause | None = None
        self._launcher: Cause | None = None
        self._suspect: Cause | None = None

    @property
    def cause(self) -> Cause | None:
        """The first specific cause, else the first consequence that it knows; None if the log shows none."""
        number = None if self._signal is None else self._signal.number
        ends = (
            (self._consequence, self._signal)
            if number == signal.SIGABRT
            else (self._signal, self._consequence)
        )
        return self.specific or ends[0] or ends[1] or self.aftermath

    @property
    def specific(self) -> Cause | None:
        """The first specific cause; None without one.

        A launcher's reason counts only without a cause that is certain: after it the other processes hang
        until a time limit.
        """
        if self.first is not None and self.first.certain:
            return self.first
        return self.stated or self.first or self._early

    @property
    def settled(self) -> bool:
        """Whether nothing but a new phase or a launcher's word can change the cause."""
        family = None if self.first is None else self.first.family
        return self.stated is not None or (family is not None and not family.passing and not family.follows)

    @property
    def before(self) -> Cause | None:
        """What the log showed before a launcher stated its reason; None without either."""
        return None if self.stated is None else self.first or self._consequence

    @property
    def complaint(self) -> str | None:
        """The first line that calls itself an error, else what other processes or launchers say of one."""
        found = self.error or self._passed_on or self._launcher
        return None if found is None else found.text

    @property
    def suspect(self) -> str | None:
        """The last line that reads like a complaint, but does not call itself an error."""
        return None if self._suspect is None else self._suspect.text

    def known(self, cause: Cause) -> None:
        """Take a cause that a family knows, other than an exception that no family knows."""
        family = cause.family
        assert family is not None
        if family.kind == "stated":
            self.stated = self.stated or cause
        elif family.kind == "consequence":
            if self.ended is None and self.stated is None:
                self._consequence = self._consequence or cause
        elif family.kind == "aftermath":
            self.aftermath = self.aftermath or cause
            if family.ends:
                self.ended = self.ended or cause
        elif family.kind == "early":
            self.newest = cause
            self._early = self._early or cause
        else:
            self.newest = cause
            if self.stated is None and self._better(cause):
                self.first = cause

    def _better(self, cause: Cause) -> bool:
        first, family = self.first, cause.family
        if first is None:
            return True
        if first.family is None:
            return family is not None and not (family.follows and first.phase == cause.phase)
        later = first.phase != cause.phase and family is not None and not family.follows
        return cause.certain and (first.family.passing or (first.family.follows and later))

    def unknown(self, cause: Cause) -> None:
        """Take an exception that no family knows; after a job was canceled it says nothing."""
        if self.ended is not None and self.ended.name == CANCELLED:
            return
        self.newest = cause
        if self.stated is None:
            self.first = self.first or cause

    def killed(self, cause: Cause) -> None:
        """Take a signal; SIGTERM and SIGINT are what launchers send to the rest, and SIGKILL after them."""
        number = cause.number
        if number in {signal.SIGTERM, signal.SIGINT} or (number == signal.SIGKILL and self.ended is not None):
            return
        self._signal = self._signal or cause

    def complained(self, cause: Cause, *, by: Literal["error", "passed on", "launcher", "suspect"]) -> None:
        """Take a line that is not a cause by itself.

        Args:
            cause: the line.
            by: ``error`` if it calls itself an error, ``passed on`` from another process, ``launcher`` for
                what launchers also log in good runs, ``suspect`` if it only reads like one.
        """
        if by == "error":
            if self.error is None or self.error.phase != cause.phase:  # an earlier phase's did no harm
                self.error = cause
        elif by == "passed on":
            self._passed_on = self._passed_on or cause
        elif by == "launcher":
            self._launcher = self._launcher or cause
        else:
            self._suspect = cause

    def improve(self, cause: Cause, better: Cause) -> None:
        """Replace a cause by one that says more."""
        self.first = better if self.first is cause else self.first
        self.newest = better if self.newest is cause else self.newest

    def advance(self) -> None:
        """Begin a phase: what a program can survive it has survived, and that is only a complaint now."""
        self._early = None
        if self.first is not None and not self.first.certain:
            self.error = self.error or self.first
            self.first = None

    def joined(self) -> None:
        """Forget that a step waited for another one, or that NCCL warned: it began."""
        if self._consequence is not None and self._consequence.name in {STEP_BUSY, NCCL, NCCL_NETWORK}:
            self._consequence = None

    def give_up(self, *, generic_only: bool) -> None:
        """Forget the newest cause: the program went on, or says more in the next exception."""
        newest, self.newest = self.newest, None
        if newest is None:
            return
        self.warned = True
        known = newest.family is not None and newest.family.kind == "cause"
        if generic_only and known:
            return
        if self.first is newest:
            self.first = None
        if self._early is newest:
            self._early = None
