"""Measurements as pytest-benchmark sees them: each request is a round of its latency over its tokens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.metrics import seconds_per_token


class Rounds:
    """The requests of one measurement, played back to pytest-benchmark.

    Its clock stands still but for the function it times, which advances it by one request's latency over
    its output tokens. OPS then reads tokens/sec/user, as a harmonic mean over the requests.
    """

    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement
        self.seconds = seconds_per_token(measurement.result.records, measurement.metrics)
        self._left = iter(self.seconds)
        self._now_s = 0.0

        def request_latency_per_output_token() -> float:
            return self._now_s

        self.timer = request_latency_per_output_token

    def play(self) -> None:
        """One request."""
        self._now_s += next(self._left)


def feed(benchmark: Any, rounds: Rounds, fullname: str) -> None:
    """Add the measurement to pytest-benchmark, through its fixture.

    Args:
        benchmark: the ``benchmark`` fixture of any test, made with ``timer=rounds.timer``.
        rounds: the measurement.
        fullname: what the benchmark is compared by: the same whatever test is selected.
    """
    measurement = rounds.measurement
    benchmark.name = f"{measurement.scenario.name}::measurement"
    benchmark.fullname = fullname
    benchmark.param = benchmark.params = None
    benchmark.group = None
    benchmark.extra_info.update({name: metric.value for name, metric in measurement.metrics.items()})
    benchmark.extra_info["profile"] = measurement.scenario.name
    benchmark.extra_info["fingerprint"] = dict(measurement.fingerprint.facts)
    health = measurement.gpu_health
    benchmark.extra_info["gpu_health"] = asdict(health) if health else {}
    benchmark.pedantic(rounds.play, rounds=len(rounds.seconds))
