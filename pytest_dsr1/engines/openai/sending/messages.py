"""The messages between the processes of the load generator and the process that started them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dsr1.engines.openai.sending.part import PartResult, WarmUp
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.records import RequestRecord


@dataclass(frozen=True, slots=True)
class Prepare:
    """The command to open all connections."""


@dataclass(frozen=True, slots=True)
class Start:
    """The command to measure, from a time on the monotonic clock on."""

    at_s: float


@dataclass(frozen=True, slots=True)
class End:
    """The command to send nothing more; with ``drain``, wait for the requests in flight."""

    drain: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """The report that all connections are open."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The report of the requests that ended since the last report, and of all output tokens so far."""

    records: Sequence[RequestRecord]
    tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The report that the task cannot be done, with the error to raise."""

    error: Dsr1Error


Command = Prepare | Start | End
Report = WarmUp | Prepared | Progress | PartResult | Failed
