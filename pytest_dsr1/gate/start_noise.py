"""How much engine starts differ in a metric: measured by accepted references, or presumed by the scenario."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pytest_dsr1.errors import NoReferenceError, ReferencesError
from pytest_dsr1.gate.comparability import Facts, differences
from pytest_dsr1.gate.reference_file import load
from pytest_dsr1.gate.references import References
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.verdict.targets import Noise


def noise_of(store: Path, scenario: Scenario, facts: Facts, metric: str, now: datetime) -> Noise:
    """How much engine starts differ in a metric: by the references where they are of it, else presumed.

    Args:
        store: the folder of references.
        scenario: of the run.
        facts: the run's fingerprint; what must be equal for a gate must be for the noise too, but for the
            node: the noise is that within nodes.
        metric: its name.
        now: for the references' age.
    """
    references = None
    if metric == scenario.gated_metric:
        with suppress(NoReferenceError, ReferencesError):
            references = load(store, scenario, now)
    return noise_by(references, scenario, facts, metric)


def noise_by(references: References | None, scenario: Scenario, facts: Facts, metric: str) -> Noise:
    """As :func:`noise_of`, of references that are read already."""
    if references is None or metric != references.metric:
        return Noise(scenario.gate.presumed_noise_percent)
    alike = not differences(references.facts, facts, references.under_test)
    if not alike or references.noise_percent is None:
        return Noise(scenario.gate.presumed_noise_percent)
    return Noise(references.noise_percent, len(references.runs))
