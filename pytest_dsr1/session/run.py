"""One run of a scenario, with what its fixtures give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.session.state import STATE, Failed, ScenarioOutcome

if TYPE_CHECKING:
    import pytest

    from pytest_dsr1.engines.protocol import Engine
    from pytest_dsr1.findings import Finding
    from pytest_dsr1.machine.lease import Machine
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.measurement.probing import Probing
    from pytest_dsr1.records import Enough
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.workload.checkpoint import CheckpointFacts
    from pytest_dsr1.workload.questions import Questions
    from pytest_dsr1.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run needs in addition to its scenario."""

    findings: tuple[Finding, ...]
    checkpoint: CheckpointFacts
    workload: Workload
    questions: Questions
    machine: Machine
    engine: Engine


def outcome_of(request: pytest.FixtureRequest, scenario: Scenario) -> ScenarioOutcome:
    """Return the outcome of the scenario so far."""
    return request.config.stash[STATE].outcomes[scenario.name]


def ready(request: pytest.FixtureRequest, *names: str) -> list[Any]:
    """Return the values of these fixtures; one error has the problems of all of them.

    Raises:
        InvalidRunError: a fixture failed.
    """
    found, problems = [], []
    for name in names:
        try:
            found.append(request.getfixturevalue(name))
        except Failed as failure:
            problems.append(str(failure.msg))
    if problems:
        raise InvalidRunError("\n".join(dict.fromkeys(problems)))  # a fixture may fail for another one
    return found


def inputs_of(request: pytest.FixtureRequest) -> Inputs:
    """Return what the fixtures give a run of their scenario.

    Raises:
        InvalidRunError: a fixture failed; the message has every reason.
    """
    given = ready(request, "dsr1_preflight", "dsr1_model", "dsr1_dataset", "dsr1_questions")
    return Inputs(*given, *ready(request, "dsr1_gpu", "dsr1_engine"))


def run(
    request: pytest.FixtureRequest,
    scenario: Scenario,
    outcome: ScenarioOutcome,
    *,
    requests: int | None = None,
    enough: Enough | None = None,
    inputs: Inputs | None = None,
    drains: bool = False,
) -> Measurement:
    """Run the scenario, or its first requests, and save the result; it is not judged.

    Args:
        request: of a fixture that serves the scenario.
        scenario: with its variables expanded.
        outcome: gets the folder.
        requests: how many requests are sent; None for all.
        enough: ends the run early.
        inputs: what the run needs; by default what the fixtures give.
        drains: wait for the requests in flight after ``enough``, for a server that is kept.

    Raises:
        Dsr1Error: the run cannot be made; the message has every reason.
    """
    inputs = inputs_of(request) if inputs is None else inputs
    from pytest_dsr1.measurement.run import RunRequest, measure
    from pytest_dsr1.workload.prepare import first
    from pytest_dsr1.workload.questions import Questions

    state, workload = request.config.stash[STATE], inputs.workload
    if state.mode is not None and not drains:  # a gate counts engine starts; those of probes are its search's
        shared: SharedResources = request.getfixturevalue("_dsr1_shared")
        shared.end_engines()
    if requests is not None:
        workload = first(workload, requests)
        load = scenario.load.model_copy(update={"num_requests": requests})
        # A part of a run is for a gate alone, which judges no answers.
        scenario = scenario.model_copy(update={"load": load, "accuracy": None})
    asked = RunRequest(
        scenario=scenario,
        test_id_prefix=outcome.test_id_prefix,
        engine=inputs.engine,
        machine=inputs.machine,
        findings=inputs.findings,
        checkpoint=inputs.checkpoint,
        workload=workload,
        results=state.results,
        site=state.site,
        enough=enough,
        drains=drains,
        questions=inputs.questions if scenario.accuracy is not None else Questions(),
        probing=_probing(request, scenario, outcome, inputs.machine)
        if state.probe or scenario.probe
        else None,
    )
    return measure(asked, state.watch, partial(setattr, outcome, "folder"))


def _probing(
    request: pytest.FixtureRequest, scenario: Scenario, outcome: ScenarioOutcome, machine: Machine
) -> Probing | None:
    """Return how the GPUs of a run are probed; None on the CPU, which a note says."""
    from pytest_dsr1.gate.comparability import NODE, node
    from pytest_dsr1.gate.reference_file import accepted_probes
    from pytest_dsr1.measurement.probing import ATTACHED, NO_GPU, Probing

    state, shared = request.config.stash[STATE], request.getfixturevalue("_dsr1_shared")
    if scenario.hardware.gpu is None:
        outcome.notes += [] if NO_GPU in outcome.notes else [NO_GPU]
        return None
    name = node({NODE: [gpu.uuid for gpu in machine.gpus]})

    def occupied() -> str | None:
        if scenario.engine.attached_url:
            return ATTACHED
        return "a server is running on the GPUs, kept for later scenarios" if shared.keeps_server else None

    return Probing(
        occupied,
        accepted_probes(state.store, scenario, name, datetime.now(timezone.utc)),
        lambda sentence: state.notify(f"{scenario.name}: {sentence}"),
    )
