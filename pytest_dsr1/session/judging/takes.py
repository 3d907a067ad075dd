"""How a gate and pairs make their runs: first the one that other tests judge, then new ones."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from pytest_dsr1.errors import EndedError, InvalidRunError, on_failure
from pytest_dsr1.session.run import outcome_of
from pytest_dsr1.session.state import STATE, Failed, ScenarioOutcome

if TYPE_CHECKING:
    import pytest

    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.reuse import SharedResources


def takes(
    request: pytest.FixtureRequest,
    scenario: Scenario,
    shared: SharedResources,
    another: Callable[[ScenarioOutcome], Measurement],
    taken: Collection[str] = (),
) -> Callable[[], Measurement]:
    """Return what makes the next run: first the run that other tests judge, if any, then new ones.

    Args:
        request: of a fixture that serves the scenario.
        scenario: with its variables expanded.
        shared: ends the engines after a failure.
        another: makes a new run, with an outcome that is not shown.
        taken: the folders of runs that were made already.
    """
    state, outcome = request.config.stash[STATE], outcome_of(request, scenario)
    pending = [scenario.name] if scenario.name in state.whole else []

    def take() -> Measurement:
        if pending:
            pending.clear()
            try:
                first: Measurement = request.getfixturevalue("dsr1_measurement")
            except Failed as failure:
                if isinstance(outcome.error, EndedError):
                    raise outcome.error from None
                if outcome.measurement is None:
                    raise InvalidRunError(str(failure.msg)) from None
                first = outcome.measurement
            if str(first.folder) not in taken:
                return first
        with on_failure(shared.end_engines):
            return another(ScenarioOutcome(outcome.loaded, outcome.test_id_prefix))

    return take
