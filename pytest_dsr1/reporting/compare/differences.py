"""What differs between results, whether they can be compared, and what forbids it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_dsr1.case.case import Case
from pytest_dsr1.gate.comparability import NODE, Facts, node, short, shown, unlike
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.text import plain

_WORK = {
    "model.content": "the models are not the same",
    "dataset.content": "the requests are not the same",
    "option.load.concurrency": "concurrency is not the same",
}
_ARRIVAL = "option.load.arrival"


def told(facts: Facts, key: str) -> str:
    """What a fingerprint says of a fact, as a person reads it."""
    if key not in facts:
        return "not recorded"
    return short(node(facts)) if key == NODE else plain(shown(facts[key]))


def warnings(measurements: Sequence[Measurement], names: Sequence[str]) -> Iterator[str]:
    """A sentence for each reason why results are not comparable; ``names`` tell them apart."""
    facts = [measurement.fingerprint.facts for measurement in measurements]
    hardware = [_hardware(one) for one in facts]
    if len({*hardware}) > 1:
        yield f"the hardware is not the same: {by_value(hardware, names)}"
    differing = unlike(facts)
    for key, sentence in _WORK.items():
        if key in differing:
            yield f"{sentence}: {by_value([_work(run, key) for run in measurements], names)}"
    if any(key.startswith(_ARRIVAL) for key in differing):
        yield "the arrivals of the requests are not the same"


def _work(measurement: Measurement, key: str) -> str:
    """A fact of the work; requests with their mean tokens, since a hash alone says little."""
    said, workload = told(measurement.fingerprint.facts, key), measurement.workload
    if key != "dataset.content":
        return said
    asked = "text" if workload.mean_input is None else f"{workload.mean_input:.4g}"
    return f"{asked} in, {workload.mean_output:.4g} out ({said})"


def _hardware(facts: Facts) -> str:
    if facts.get("gpu.count"):
        return f"{told(facts, 'gpu.count')} x {told(facts, 'gpu.name')}"
    return told(facts, "cpu.model")


def by_value(values: Sequence[str], names: Sequence[str]) -> str:
    """Such as ``128 in a, b; 64 in c``."""
    return "; ".join(
        f"{value} in {', '.join(name for name, one in zip(names, values, strict=True) if one == value)}"
        for value in dict.fromkeys(values)
    )


def why_unfit(
    measurements: Sequence[Measurement], names: Sequence[str], invalid: Sequence[str]
) -> tuple[str, ...]:
    """Why a change of each result says nothing of better or worse; empty where it does, and for the first."""
    first = measurements[0]
    found = [""]
    for run, name, reason in zip(measurements[1:], names[1:], invalid[1:], strict=True):
        if invalid[0]:
            found.append(f"{names[0]} is INVALID")
        elif reason:
            found.append(f"{name} is INVALID")
        elif any(warnings((first, run), (names[0], name))):
            found.append(f"not comparable with {names[0]}")
        else:
            found.append("")
    return tuple(found)


def differences(cases: Iterable[Case], compared: Mapping[str, Any]) -> Iterable[str]:
    """A sentence for each benchmark of this run whose fingerprint differs from the compared file's."""
    before = {bench.get("fullname"): bench for bench in compared.get("benchmarks", ())}
    for case in cases:
        bench, measurement = before.get(f"{case.test_id_prefix}::measurement"), case.findings.measurement
        if measurement is None or case.findings.of_gate or bench is None:
            continue
        old = bench.get("extra_info", {}).get("fingerprint", {})
        new = measurement.fingerprint.facts
        changed = [f"{plain(key)} was {told(old, key)}, is {told(new, key)}" for key in unlike([old, new])]
        if changed:
            yield f"dsr1: {case.scenario.name} was measured differently: {'; '.join(changed)}"
