"""What one line of a log shows about a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.process.log.family import Family
from pytest_dsr1.process.log.memory import GPU_MEMORY, GPU_MEMORY_LOADING

Phase = Literal["starting", "loading", "preparing", "running"]


@dataclass(frozen=True, slots=True)
class Cause:
    """What a line of the log shows.

    Attributes:
        text: the line without prefixes.
        raw: the line.
        family: its family; None for an exception or error that no family knows.
        number: the signal, if it states one.
        phase: the phase that the log was in.
        loading: whether the weights were being loaded.
        option: the option that it refuses, if it names one.
        unknown_option: whether that option does not exist.
    """

    text: str
    raw: str
    family: Family | None = None
    number: int | None = None
    phase: Phase = "starting"
    loading: bool = False
    option: str | None = None
    unknown_option: bool = False

    @property
    def aftermath(self) -> bool:
        """Whether it only says that something has failed."""
        return self.family is not None and self.family.kind == "aftermath"

    @property
    def certain(self) -> bool:
        """Whether a family knows it that no program survives."""
        return self.family is not None and not self.family.passing

    @property
    def name(self) -> str:
        """The name of the family, also by the phase; empty without one."""
        if self.family is None:
            return ""
        if self.family.name == GPU_MEMORY and self.loading:
            return GPU_MEMORY_LOADING
        return self.family.name
