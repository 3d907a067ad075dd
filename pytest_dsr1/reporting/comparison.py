"""What differs between this run and one that pytest-benchmark compares it with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_dsr1.session import Outcome

_MISSING = "not recorded"


def differences(outcomes: Iterable[Outcome], compared: Mapping[str, Any]) -> Iterable[str]:
    """A sentence for each benchmark of this run whose fingerprint differs from the compared file's."""
    before = {bench.get("fullname"): bench for bench in compared.get("benchmarks", ())}
    for outcome in outcomes:
        bench = before.get(f"{outcome.place}::measurement")
        if outcome.measurement is None or bench is None:
            continue
        old = bench.get("extra_info", {}).get("fingerprint", {})
        new = dict(outcome.measurement.fingerprint.facts)
        changed = [
            f"{key} was {old.get(key, _MISSING)}, is {new.get(key, _MISSING)}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
        if changed:
            yield f"dsr1: {outcome.loaded.scenario.name} was measured differently: {'; '.join(changed)}"
