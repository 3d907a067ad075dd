"""Measurements for pytest-benchmark: each request is one round, its latency divided by its tokens."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dsr1.session.collection import gates, measured, of_curve, of_search

if TYPE_CHECKING:
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.metrics.catalogue import MetricValue
    from pytest_dsr1.records import RequestRecord
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.selection import Selection
    from pytest_dsr1.session.state import RunState

FIXTURE = "_dsr1_benchmark"
"""The fixture that gives a measurement to pytest-benchmark."""


def seconds_per_token(records: Sequence[RequestRecord], metrics: Mapping[str, MetricValue]) -> list[float]:
    """Return latency divided by output tokens for each request, in s: pytest-benchmark's rounds.

    Without records there is one round: 1 / per-user throughput.
    """
    rounds = [
        (r.last_token_s - r.start_s) / r.output_tokens for r in records if r.error is None and r.output_tokens
    ]
    if rounds:
        return rounds
    per_user = metrics.get("per_user_output_throughput")
    return [1 / per_user.value] if per_user else []


class Rounds:
    """The requests of one measurement, played back to pytest-benchmark.

    Only the timed function advances the clock, by one request's latency divided by its output tokens. OPS
    then means tokens/sec/user, as a harmonic mean over the requests.
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
        """Play one request."""
        self._now_s += next(self._left)


def named(place: str, scenario: Scenario) -> str:
    """Return the name of a scenario's benchmark: another one for each acceptance length that is forced."""
    return f"{place}::measurement" + (f" ({scenario.forced})" if scenario.forced else "")


def feed(benchmark: Any, rounds: Rounds, file: str) -> None:
    """Add the measurement to pytest-benchmark, through its fixture.

    Args:
        benchmark: the ``benchmark`` fixture of any test, made with ``timer=rounds.timer``.
        rounds: the measurement.
        file: the scenario's file. pytest-benchmark compares by the name that begins with it, so it is the
            same for any selection of tests. Of a sweep's point, that name ends with the point.
    """
    measurement = rounds.measurement
    point = measurement.scenario.point
    benchmark.name = named(measurement.scenario.name, measurement.scenario)
    benchmark.fullname = named(file, measurement.scenario) + (f"[{point.label}]" if point else "")
    benchmark.param = benchmark.params = None
    benchmark.group = None
    benchmark.extra_info.update({name: metric.value for name, metric in measurement.metrics.items()})
    benchmark.extra_info["profile"] = measurement.scenario.name
    if measurement.scenario.forced:
        benchmark.extra_info["forced"] = measurement.scenario.forced
    benchmark.extra_info["fingerprint"] = dict(measurement.fingerprint.facts)
    health = measurement.gpu_health
    benchmark.extra_info["gpu_health"] = asdict(health) if health else {}
    benchmark.pedantic(rounds.play, rounds=len(rounds.seconds))


@contextmanager
def counted(items: Iterable[pytest.Item]) -> Iterator[None]:
    """Count tests that need inference as benchmarks for --benchmark-only and --benchmark-skip.

    pytest-benchmark looks for the name of its fixture, so these tests get it for a while. A test that judges
    a whole measurement keeps the fixture that feeds it. A gate's runs vary in length, so they are not a
    benchmark, and neither are a search, and a curve, which needs the
    measurements of its points.
    """
    inferred = [item for item in items if isinstance(item, pytest.Function)]
    inferred = [
        item for item in inferred if measured(item) or gates(item) or of_curve(item) or of_search(item)
    ]
    lists: dict[int, list[str]] = {id(item.fixturenames): item.fixturenames for item in inferred}
    shown = [names for names in lists.values() if "benchmark" not in names]
    for names in shown:
        names.append("benchmark")
    try:
        yield
    finally:
        for names in shown:
            names.remove("benchmark")
            if "dsr1_measurement" in names:
                names.append(FIXTURE)


def saved_or_noted(config: pytest.Config, note: Callable[[str], None]) -> None:
    """Let pytest-benchmark note a file that it cannot write: its exception would end all reporting."""
    session = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    save = session.handle_saving

    def handle_saving() -> None:
        try:
            save()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            note(
                f"{where}the benchmark file cannot be written: {error.strerror}; free space there, or choose "
                "another folder with --benchmark-storage"
            )

    session.handle_saving = handle_saving


def only_where_asked(config: pytest.Config) -> None:
    """Leave pytest-benchmark's table out, unless an option asks for it, or it has other benchmarks too."""
    session = getattr(config, "_benchmarksession", None)
    given = (
        *config.invocation_params.args,
        *config.getini("addopts"),
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
    )
    if session is None or any(word.startswith("--benchmark") for word in given):
        return
    display = session.display

    def ours(terminal: Any) -> None:
        session.quiet |= all("profile" in each.extra_info for each in session.benchmarks)
        display(terminal)

    session.display = ours


def gpus_of(state: RunState, selection: Selection) -> dict[str, object]:
    """Return the GPUs, for pytest-benchmark's data of the machine; empty on the CPU."""
    if state.replay is not None:
        judged = (outcome.measurement for outcome in state.outcomes.values())
        runs = [*state.replay.runs.values(), *(each for each in judged if each is not None)]
        saved = [measurement.fingerprint.facts for measurement in runs]
        return {
            key: values[0] if len(values) == 1 else ", ".join(map(str, values))
            for key in ("gpu.name", "gpu.count", "driver")
            if (values := list(dict.fromkeys(facts[key] for facts in saved if key in facts)))
        }
    if not any(loaded.scenario.hardware.gpu for loaded in selection.all()):
        return {}
    from pytest_dsr1.machine.gpu.inventory import read_machine

    machine = read_machine(os.environ)
    names = sorted({gpu.name for gpu in machine.gpus})
    return {"gpu.name": ", ".join(names), "gpu.count": len(machine.gpus), "driver": machine.driver}
