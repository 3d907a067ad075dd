"""Whether a measurement proves anything at all."""

from __future__ import annotations

from pytest_dsr1.measurement.values import Measurement


def invalid_reasons(measurement: Measurement) -> tuple[str, ...]:
    """Why the measurement is INVALID, each a sentence; empty when it can be judged.

    Findings are those of the preflight and of the telemetry. A mismatch of the machine counts unless the
    user allowed it; what happened during the run always counts.
    """
    scenario, result = measurement.scenario, measurement.result
    reasons = [f"{f.subject}: {f.message}" for f in measurement.findings if f.severity == "mismatch"]
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
        reasons.append(f"{len(result.records)} requests ended, {asked} were asked for")
    broken = [name for name, m in measurement.metrics.items() if not 0 < m.value < float("inf")]
    if broken:
        reasons.append(f"not finite positive numbers: {', '.join(broken)}")
    if not measurement.metrics:
        reasons.append("the engine reported no metric")
    return tuple(reasons)
