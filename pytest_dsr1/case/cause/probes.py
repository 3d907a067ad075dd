"""The probes of a run as evidence: held against those of a good run, else against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, median_high

from pytest_dsr1.case.cause.evidence import Against, Probed
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.probe.judge import fast_ones
from pytest_dsr1.machine.probe.values import KINDS, PREFIX, numbers
from pytest_dsr1.machine.values import FactValue, GpuName
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.probing import AFTER

WHAT: Mapping[str, str] = {
    "memory_bandwidth_gb_s": "memory_bandwidth",
    "memory_read_gb_s": "memory_read",
    "bf16_tflops": "bf16",
    "fp8_tflops": "fp8",
    "all_reduce_64kib_us": "allreduce_small",
    "all_reduce_256mib_gb_s": "allreduce",
    "peer_gb_s": "peer_copy",
    "peer_side_by_side_gb_s": "peer_ring",
    "host_to_gpu_gb_s": "host_link_to",
    "gpu_to_host_gb_s": "host_link_from",
}
"""The probes that count as evidence, with the names that the rules have for them."""


def accepted(references: References | None, measurement: Measurement) -> Mapping[str, tuple[float, ...]]:
    """Return the probes of the accepted references on the GPUs of a run; empty without any."""
    node = comparability.node(measurement.fingerprint.facts)
    return references.probes_on(node) if references else {}


def probed(
    measurement: Measurement,
    references: References | None,
    green: Mapping[str, FactValue],
    *,
    other_work: bool,
    of_good: bool,
) -> Probed | None:
    """Return how the machine's probes compare; None if it was not probed before the run.

    Args:
        measurement: the run.
        references: the accepted references; None without any.
        green: the probes of the last green run that was probed; they count if references have none.
        other_work: whether another process used the GPUs.
        of_good: whether the references are of good runs; others count only if no green run was probed.
    """
    facts = measurement.fingerprint.facts
    now = {name: found for name in WHAT if (found := numbers(facts.get(PREFIX + name)))}
    if not now:
        return None
    usual = accepted(references, measurement)
    before = {name: found for name in WHAT if (found := numbers(green.get(PREFIX + name)))}
    of_references, of_green = _compared(now, usual), _compared(now, before)
    against: Against = "references"
    differences = of_references
    if not of_references or (of_green and not of_good):
        differences, against = of_green, "green run"
    if not differences:
        differences = {
            name: _differences(name, values, [median(fast_ones(values, KINDS[name].cards_percent))])
            for name, values in now.items()
            if len(values) > 1 and KINDS[name].of != "all"  # by how much healthy nodes differ is unknown
        }
        against = "peers"
    return Probed(
        against,
        overall={WHAT[name]: median_high(each) for name, each in differences.items()},
        single=_by_gpu(differences, measurement.telemetry.gpus),
        smallest={WHAT[name]: _smallest(name, among_peers=against == "peers") for name in differences},
        other_work=other_work,
        of_good=of_good or against != "references",
        slower_after={
            WHAT[name]: worst
            for name, before in now.items()
            if (after := numbers(facts.get(AFTER + name)))
            and _matches(after, before)
            and (worst := min(_differences(name, after, before))) < -KINDS[name].smallest_percent
        },
    )


def _compared(
    now: Mapping[str, Sequence[float]], usual: Mapping[str, Sequence[float]]
) -> dict[str, list[float]]:
    """Return by how many percent each GPU differs, by probe; of the probes that both have."""
    return {
        name: _differences(name, values, before)
        for name, values in now.items()
        if (before := usual.get(name)) and _matches(values, before)
    }


def _smallest(name: str, *, among_peers: bool) -> float:
    kind = KINDS[name]
    return kind.cards_percent if among_peers else kind.smallest_percent


def _by_gpu(
    differences: Mapping[str, Sequence[float]], gpus: Sequence[GpuName]
) -> dict[GpuName, dict[str, float]]:
    """Return by GPU what has a value per GPU."""
    found: dict[GpuName, dict[str, float]] = {}
    for name, each in differences.items():
        if len(each) == len(gpus) > 1:
            for gpu, difference in zip(gpus, each, strict=True):
                found.setdefault(gpu, {})[WHAT[name]] = difference
    return found


def _matches(now: Sequence[float], usual: Sequence[float]) -> bool:
    return len(usual) in {1, len(now)} or len(now) == 1


def _differences(name: str, now: Sequence[float], usual: Sequence[float]) -> list[float]:
    """Return by how many percent each GPU differs in speed, also by a time; negative is slower."""
    length = max(len(now), len(usual))
    values, before = (list(each) * (length if len(each) == 1 else 1) for each in (now, usual))
    if KINDS[name].lower_is_better:
        values, before = before, values
    return [100 * (value / old - 1) for value, old in zip(values, before, strict=True)]
