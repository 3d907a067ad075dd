"""The acceptance length in the overview: a run without speculation has one of 1, which says nothing."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.case.case import case_of
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.reporting.terminal.overview import overview
from pytest_dsr1.session.state import ScenarioOutcome
from tests.helpers.scenario_files import changed, load_text
from tests.helpers.values import measurement


@pytest.mark.parametrize(("tokens_per_step", "shown"), [(1.0, False), (1.01, True)])
def test_an_acceptance_length_is_shown_where_tokens_were_accepted(
    tmp_path: Path, tokens_per_step: float, shown: bool
) -> None:
    run = measurement(metrics={"acceptance_length": MetricValue(tokens_per_step, "records")})
    outcome = ScenarioOutcome(load_text(tmp_path, changed()), "s.yaml", measurement=run)
    lines = overview([case_of(outcome, tmp_path / "none", datetime.now(timezone.utc))], 120, {})
    assert any("acceptance length" in line for line, _ in lines) == shown
