"""A cheap agent that speaks the protocol of an agent, and sends samples of GPUs that are not there.

``python -m benchmarks.cluster.replay_agent GPUS``. It sends once per second what ten looks at each GPU per
second would have found, whatever the load of the machine. ``energy_j`` is the number of a sample, from 0, so
that its reader sees each that is missing; the last answer's ``overhead_share`` is how many there were.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

from pytest_dsr1.machine.nodes.messages import REQUEST, Answer, Command, line
from pytest_dsr1.machine.telemetry.recorder import INTERVAL_S, SLOW_INTERVAL_S
from pytest_dsr1.machine.values import ErrorCounters, Telemetry

_SAMPLE = (
    '{{"time_s": {time_s}, "gpu": {gpu}, "sm_clock_mhz": 1980, "memory_clock_mhz": 3201, "power_w": 612.25, '
    '"energy_j": {number}, "temperature_c": 61, "memory_used_gib": 131.4, "utilization_percent": 99, '
    '"throttle_reasons": 4, "pcie_generation": null}}'
)


class _Samples:
    """Sends samples until it is ended."""

    def __init__(self, gpus: int) -> None:
        self.each = 0
        """How many of each GPU were sent."""
        self._gpus = gpus
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._ended.wait(SLOW_INTERVAL_S):
            self._send(began_s)
        self._send(began_s)

    def _send(self, began_s: float) -> None:
        due = int((time.monotonic() - began_s) / INTERVAL_S)
        rows = [
            _SAMPLE.format(time_s=began_s + number * INTERVAL_S, gpu=gpu, number=number)
            for number in range(self.each, due)
            for gpu in range(self._gpus)
        ]
        self.each = due
        print(f'{{"kind": "samples", "samples": [{",".join(rows)}]}}', flush=True)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def main() -> None:
    """Answer on standard output."""
    gpus = int(sys.argv[1])
    samples: _Samples | None = None
    for text in sys.stdin.buffer:
        answer, request = Answer(), REQUEST.validate_json(text)
        match request:
            case Command(do="clock"):
                answer = Answer(time_s=time.monotonic())
            case Command(do="watch"):
                samples = _Samples(gpus)
            case Command(do="end_watch") if samples is not None:
                samples.end()
                unknown = (None,) * gpus
                telemetry = Telemetry(
                    gpus=tuple(range(gpus)),
                    max_sm_clock_mhz=unknown,
                    pcie_generation_max=unknown,
                    ecc_uncorrected_before=unknown,
                    ecc_uncorrected_after=unknown,
                    errors_before=(ErrorCounters(),) * gpus,
                    errors_after=(ErrorCounters(),) * gpus,
                    overhead_share=samples.each,
                )
                answer = Answer(telemetry=telemetry)
        sys.stdout.buffer.write(line(replace(answer, number=request.number)))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
