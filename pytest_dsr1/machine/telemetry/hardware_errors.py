"""Errors of the hardware during a run: uncorrectable and repaired ones, and Xid errors."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.findings import Finding, Severity
from pytest_dsr1.machine.gpu.inventory import gpu_finding
from pytest_dsr1.machine.gpu.xids import XIDS
from pytest_dsr1.machine.values import UNVERIFIED, Event, Telemetry

_COUNTERS = {
    "pcie_replays": "PCIe replays",
    "nvlink_errors": "NVLink errors",
    "ecc_corrected": "corrected memory errors",
    "remapped_rows": "remapped memory rows",
}
"""The counters of :class:`~pytest_dsr1.machine.values.ErrorCounters`, in words."""


def hardware_errors(telemetry: Telemetry) -> Iterator[Finding]:
    """Yield a ``mismatch`` for new uncorrectable errors, and a warning for new repaired ones."""
    yield from _uncorrected(telemetry)
    yield from _repaired(telemetry)


def xid(event: Event, when: str, *, in_time: bool) -> tuple[Severity, str]:
    """Judge an Xid error: only one of the hardware in the measured time makes the run INVALID.

    Events are read once per second, so one seen just after the end may be older.
    """
    known = XIDS.get(event.xid or 0)
    if known is None or known.kind != "hardware":
        return "warning", f"{when}: {event.message}"
    message = f"{when}: {event.message}; see `dmesg | grep Xid` on the host, and reset or replace the GPU"
    return "mismatch" if in_time else "warning", message


def _uncorrected(telemetry: Telemetry) -> Iterator[Finding]:
    counts = zip(
        telemetry.gpus, telemetry.ecc_uncorrected_before, telemetry.ecc_uncorrected_after, strict=False
    )
    for gpu, before, after in counts:
        if before is not None and after is not None and after > before:
            message = (
                f"uncorrectable memory errors grew from {before} to {after} during the run; results may be "
                "wrong: reset the GPU (`nvidia-smi -r`), and replace it if that does not help"
            )
            yield gpu_finding("mismatch", gpu, "ECC", message)


def _repaired(telemetry: Telemetry) -> Iterator[Finding]:
    """Yield a warning for errors that the hardware repaired during the run, which cost time."""
    counts = zip(telemetry.gpus, telemetry.errors_before, telemetry.errors_after, strict=False)
    for gpu, before, after in counts:
        grown = []
        for name, what in _COUNTERS.items():
            old, new = getattr(before, name), getattr(after, name)
            if old is not None and new is not None and new > old:
                grown.append(f"{what} from {old:,} to {new:,}")
        if grown:
            message = f"grew during the run: {', '.join(grown)} {UNVERIFIED}"
            yield gpu_finding("warning", gpu, "repaired errors", message)
