"""The differences between results, and whether the results are comparable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_dsr1.case.case import Case
from pytest_dsr1.gate.comparability import NODE, Facts, node, short, shown, unlike
from pytest_dsr1.machine.values import FORCED
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.text import plain

_WORK = {
    "model.content": "the models are not the same",
    "dataset.content": "the requests are not the same",
    "option.load.concurrency": "concurrency is not the same",
    FORCED: "the forced acceptance length is not the same",
}
_ARRIVAL = "option.load.arrival"


def fact_text(facts: Facts, key: str) -> str:
    """Return a fact of a fingerprint as a person reads it."""
    if key not in facts:
        return "not recorded"
    return short(node(facts)) if key == NODE else plain(shown(facts[key]))


def warnings(measurements: Sequence[Measurement], names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each reason why results are not comparable; ``names`` are those of the results."""
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
    """Return a fact of the work; requests with their mean tokens, because a hash alone says little."""
    text, workload = fact_text(measurement.fingerprint.facts, key), measurement.workload
    if key != "dataset.content":
        return text
    mean_input = "text" if workload.mean_input is None else f"{workload.mean_input:.4g}"
    return f"{mean_input} in, {workload.mean_output:.4g} out ({text})"


def _hardware(facts: Facts) -> str:
    if facts.get("gpu.count"):
        return f"{fact_text(facts, 'gpu.count')} x {fact_text(facts, 'gpu.name')}"
    return fact_text(facts, "cpu.model")


def by_value(values: Sequence[str], names: Sequence[str]) -> str:
    """Return the names by value, such as ``128 in a, b; 64 in c``."""
    return "; ".join(
        f"{value} in {', '.join(name for name, one in zip(names, values, strict=True) if one == value)}"
        for value in dict.fromkeys(values)
    )


def why_unfit(
    measurements: Sequence[Measurement], names: Sequence[str], invalid: Sequence[str]
) -> tuple[str, ...]:
    """Return for each result why its changes are not called better or worse; empty if they are."""
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
    """Yield a sentence for each benchmark whose fingerprint differs from the one in the compared file."""
    from pytest_dsr1.session.benchmark import named  # imports pytest, which the command does not need

    before = {bench.get("fullname"): bench for bench in compared.get("benchmarks", ())}
    for case in cases:
        bench, measurement = before.get(named(case.test_id_prefix, case.scenario)), case.run.measurement
        if measurement is None or case.run.of_gate or bench is None:
            continue
        old = bench.get("extra_info", {}).get("fingerprint", {})
        new = measurement.fingerprint.facts
        changed = [
            f"{plain(key)} was {fact_text(old, key)}, is {fact_text(new, key)}" for key in unlike([old, new])
        ]
        if changed:
            yield f"dsr1: {case.scenario.name} was measured differently: {'; '.join(changed)}"
