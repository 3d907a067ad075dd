"""An observer that remembers what an engine reports."""

from __future__ import annotations

import signal

from pytest_dsr1.records import Observer, Phase, RequestRecord


class Watcher(Observer):
    """An observer that keeps every report in order."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.details: list[str] = []
        self.done: list[tuple[int, int]] = []
        self.records: list[RequestRecord] = []

    def phase(self, phase: Phase, detail: str = "") -> None:
        self.phases.append(phase)
        self.details.append(detail)

    def progress(self, requests: int, output_tokens: int) -> None:
        self.done.append((requests, output_tokens))

    def record(self, record: RequestRecord) -> None:
        self.records.append(record)

    @property
    def steps(self) -> list[tuple[Phase, str]]:
        """Return the phases with their details."""
        return list(zip(self.phases, self.details, strict=True))

    @property
    def ids(self) -> list[int]:
        """Return the ids of the records."""
        return [record.id for record in self.records]


class Impatient(Watcher):
    """A person who presses Ctrl-C when a phase has this detail."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self._detail = detail

    def phase(self, phase: Phase, detail: str = "") -> None:
        super().phase(phase, detail)
        if detail == self._detail:
            signal.raise_signal(signal.SIGINT)
