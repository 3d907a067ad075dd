"""What differs between this run and one that pytest-benchmark compares it with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_dsr1.gate.comparability import unlike
from pytest_dsr1.reporting.compare.comparable import told
from pytest_dsr1.session.state import Outcome
from pytest_dsr1.text import plain


def differences(outcomes: Iterable[Outcome], compared: Mapping[str, Any]) -> Iterable[str]:
    """A sentence for each benchmark of this run whose fingerprint differs from the compared file's."""
    before = {bench.get("fullname"): bench for bench in compared.get("benchmarks", ())}
    for outcome in outcomes:
        bench = before.get(f"{outcome.place}::measurement")
        if outcome.measurement is None or bench is None:
            continue
        old = bench.get("extra_info", {}).get("fingerprint", {})
        new = outcome.measurement.fingerprint.facts
        changed = [f"{plain(key)} was {told(old, key)}, is {told(new, key)}" for key in unlike([old, new])]
        if changed:
            yield f"dsr1: {outcome.loaded.scenario.name} was measured differently: {'; '.join(changed)}"
