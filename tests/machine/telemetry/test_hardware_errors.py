"""Errors of the hardware during a run: which make it INVALID, and which are only shown."""

from __future__ import annotations

import pytest

from pytest_dsr1.machine.gpu.xids import described
from pytest_dsr1.machine.telemetry.hardware_errors import hardware_errors
from pytest_dsr1.machine.telemetry.health import assess
from pytest_dsr1.machine.values import UNVERIFIED, ErrorCounters, Event, Telemetry
from pytest_dsr1.scenario.schema.scenario import Validity

FROM_S, TO_S = 100.0, 160.0


def told(telemetry: Telemetry) -> list[str]:
    return [f"{one.severity}: {one.subject}: {one.message}" for one in hardware_errors(telemetry)]


def xid(code: int, time_s: float, gpu: int | None = 3) -> list[str]:
    """Return what is said of one Xid error."""
    event = Event(time_s, gpu, "xid", described(code), code)
    findings = assess(Telemetry(gpus=(), events=(event,)), Validity(), FROM_S, TO_S)
    return [f"{one.severity}: {one.subject}: {one.message}" for one in findings]


@pytest.mark.parametrize(
    ("time_s", "severity", "when"),
    [
        (99.9, "warning", "00:00 before the measurement began"),
        (100.0, "mismatch", "00:00 after the measurement began"),
        (130.0, "mismatch", "00:30 after the measurement began"),
        (160.9, "mismatch", "after the measurement"),
        (161.1, "warning", "after the measurement"),
    ],
)
def test_an_xid_of_the_hardware_in_the_measured_time_makes_the_run_invalid(
    time_s: float, severity: str, when: str
) -> None:
    """Events are read once per second: one that is seen just after the end may have been in time."""
    assert xid(74, time_s) == [
        f"{severity}: GPU 3 Xid: {when}: Xid 74 (NVLink error); see `dmesg | grep Xid` on the host, and "
        "reset or replace the GPU"
    ]


@pytest.mark.parametrize("code", [13, 31, 43, 45, 63, 92, 4711])
def test_other_xids_are_shown(code: int) -> None:
    """Those of programs, of an engine that ends, of repaired memory, and unknown ones."""
    assert xid(code, 130.0, None) == [
        f"warning: GPUs Xid: 00:30 after the measurement began: {described(code)}"
    ]


def test_errors_that_were_repaired_during_the_run_are_a_warning() -> None:
    before, after = ErrorCounters(1, 2, 3, 4), ErrorCounters(1001, 3, 4, 5)
    telemetry = Telemetry(gpus=(0, 1), errors_before=(before, before), errors_after=(before, after))
    assert told(telemetry) == [
        "warning: GPU 1 repaired errors: grew during the run: PCIe replays from 1 to 1,001, NVLink errors "
        f"from 2 to 3, corrected memory errors from 3 to 4, remapped memory rows from 4 to 5 {UNVERIFIED}"
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ()),
        ((ErrorCounters(),), (ErrorCounters(5),)),
        ((ErrorCounters(5),), (ErrorCounters(),)),
        ((ErrorCounters(5),), (ErrorCounters(0),)),
    ],
    ids=["an earlier version", "unknown before", "unknown after", "driver loaded again"],
)
def test_what_is_unknown_is_not_growth(
    before: tuple[ErrorCounters, ...], after: tuple[ErrorCounters, ...]
) -> None:
    assert told(Telemetry(gpus=(0,), errors_before=before, errors_after=after)) == []
