"""Events of worker programs: of made-up ones, and read from the output of real ones."""

from __future__ import annotations

import json
from typing import Any

from pytest_dsr1.process.event_lines import EventSplitter

SAYS = """\
import json, os, sys
from pytest_dsr1.process.event_lines import event_lines
def say(text):
    for line in event_lines(text):
        os.write(1, line)
"""
"""The beginning of a program that stands in for a worker: ``say`` writes an event."""


def events_in(output: bytes) -> list[dict[str, Any]]:
    """Return the events in the output of a worker, which has nothing else."""
    events, rest = EventSplitter().feed(output)
    assert rest == b""
    return [json.loads(event) for event in events]
