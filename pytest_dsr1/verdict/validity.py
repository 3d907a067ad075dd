"""Validity: the reasons why a measurement says nothing about performance."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.engines.in_effect import differing
from pytest_dsr1.machine.gpu.inventory import sentences
from pytest_dsr1.machine.gpu.known import UNCERTAINTY
from pytest_dsr1.machine.values import FORCED
from pytest_dsr1.measurement.consistency import expected_acceptance
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.roofline.bounds import bounds
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number


def invalid_reasons(measurement: Measurement) -> tuple[str, ...]:
    """Return the reasons why the measurement is INVALID, one sentence each; empty if it can be judged.

    Findings come from the preflight and the telemetry. A mismatch of the machine counts unless the user
    allowed it; what happened during the run always counts.
    """
    scenario, result = measurement.scenario, measurement.result
    reasons = sentences(f for f in measurement.findings if f.severity == "mismatch")
    failed = [r for r in result.records if r.error is not None]
    tolerated = scenario.load.tolerated_failures
    if len(failed) > tolerated:
        allowed = f" ({tolerated} are tolerated)" if tolerated else ""
        reasons.append(
            f"{len(failed)} of {len(result.records)} requests failed{allowed}, the first: {failed[0].error}"
        )
    elif (
        result.records
        and len(result.records) != measurement.workload.requests
        and scenario.load.duration_s is None
        and not result.stopped
    ):
        asked = measurement.workload.requests
        reasons.append(f"{len(result.records)} requests ended; expected {asked}")
    broken = [name for name, m in measurement.metrics.items() if not METRICS[name].allows(m.value)]
    if broken:
        reasons.append(f"not finite positive numbers: {', '.join(broken)}")
    else:
        reasons += above_peak(measurement)
        reasons += _not_forced(measurement)
        reasons += _other_options(measurement)
        reasons += _cached_prompts(measurement)
    if not measurement.metrics:
        reasons.append("the engine reported no metric")
    return tuple(reasons)


def _not_forced(measurement: Measurement) -> Iterator[str]:
    """Yield a sentence about a forced acceptance length that the engine did not keep."""
    speculation, seen = measurement.scenario.speculation, measurement.metrics.get("acceptance_length")
    measured = measurement.fingerprint.facts.get(FORCED)
    asked = None if speculation is None else speculation.acceptance_length
    if measured != asked:
        were, say = ("natural" if each is None else f"forced to {each}" for each in (measured, asked))
        yield (
            f"the acceptance length was {were} in this run, but the scenario says {say}: judge it as it was "
            "measured, without a change of `speculation`"
        )
        return
    if speculation is None or seen is None:
        return
    tokens = [
        float(r.output_tokens) for r in measurement.result.records if r.error is None and r.output_tokens
    ]
    workload = measurement.workload
    least, most = expected_acceptance(
        speculation.acceptance_length,
        tokens or [workload.mean_output] * workload.requests,
        measurement.scenario.load.at_once,
    )
    if not least <= seen.value <= most:
        yield (
            f"{measurement.scenario.forced}, but {seen.value:.3f} seen (expected {least:.3f} to {most:.3f}): "
            "the engine did not force it; look for its own message in the log, and at its version "
            "(`pytest-dsr1 docs datasets`)"
        )


def _other_options(measurement: Measurement) -> Iterator[str]:
    """Yield a sentence about options that change what is measured and were not in effect as asked for."""
    wrong = differing(measurement.result.facts.options_in_effect, matter=True)
    if wrong:
        yield f"the engine did not use the options that it was given: {'; '.join(wrong)}"


_MOST_CACHED = 0.05
"""The share of prompts that a point of a sweep, or a probe of a search, may find in the server's cache."""


def _cached_prompts(measurement: Measurement) -> Iterator[str]:
    """Yield a sentence about prompts of a sweep's point, or a search's probe, that were not computed.

    A kept server may have seen them: the point then measures its cache. A trace repeats prefixes on purpose.
    """
    scenario, share = measurement.scenario, measurement.result.facts.server_metrics.prefix_cache_hit_share
    if scenario.point is None or isinstance(scenario.load.arrival, TraceArrival):
        return
    if share is not None and share > _MOST_CACHED:
        kind = "probe of a search" if scenario.point.is_probe else "point of a sweep"
        yield (
            f"{share:.0%} of the prompts came from the server's prefix cache and were not computed, but a "
            f"{kind} may have {_MOST_CACHED:.0%}: {_own_prompts(scenario)}, or switch the cache off"
        )


def _own_prompts(scenario: Scenario) -> str:
    """Return how a point or a probe gets prompts that the server has not seen."""
    if scenario.point is None or not scenario.point.is_probe:
        return "give each point prompts of its own, with dataset.seed or dataset.path in the sweep"
    if scenario.dataset.path:
        return "all probes send the prompts of dataset.path, so remove it: then each probe makes its own"
    return "set another dataset.seed, whose prompts the server has not seen"


def above_peak(measurement: Measurement) -> Iterator[str]:
    """Yield a sentence about the metric furthest above the GPUs' limit; all metrics come from one clock."""
    found = max(bounds(measurement), key=lambda bound: bound.share or 0.0, default=None)
    if found is None or found.measured is None or found.measured <= found.value * (1 + UNCERTAINTY):
        return
    metric, gpus = METRICS[found.metric], measurement.result.gpus
    yield (
        f"{metric.label} {number(found.measured)} {metric.unit} exceeds the limit of {number(found.value)} "
        f"{metric.unit}, which follows from the peak of the {found.limit} of {gpus} x "
        f"{measurement.fingerprint.facts['gpu.name']} ({found.arithmetic}): either a clock or the token "
        "count is wrong, or the model or quantization that ran is not the one in the scenario"
    )
