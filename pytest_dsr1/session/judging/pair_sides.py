"""The two sides of a comparison in pairs: what each start needs, and the runs that a record has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_dsr1.errors import InvalidRunError, UserError, on_failure
from pytest_dsr1.session import resume
from pytest_dsr1.session.judging.takes import takes
from pytest_dsr1.session.run import inputs_of, ready, run
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.session.state import STATE, ScenarioOutcome, allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pytest_dsr1.findings import Finding
    from pytest_dsr1.machine.values import FactValue
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.pairs.order import Side
    from pytest_dsr1.pairs.progress import PairsProgress
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.session.state import RunState
    from pytest_dsr1.study.record import StudyRecord
    from pytest_dsr1.workload.checkpoint import CheckpointFacts


@dataclass(frozen=True, slots=True)
class NewSide:
    """The new side, checked before GPU time is spent.

    Attributes:
        loaded: as it was selected.
        test_id_prefix: its path in test ids.
        scenario: of a start, with its variables expanded.
        findings: of its preflight.
        checkpoint: its model.
    """

    loaded: LoadedScenario
    test_id_prefix: str
    scenario: Scenario
    findings: tuple[Finding, ...]
    checkpoint: CheckpointFacts


@dataclass
class Pairing:
    """A comparison of this session.

    Attributes:
        old: the scenario of a start of the old side.
        new: the new side.
        progress: the comparison so far.
        software: by side, what its starts must have in common, from the first of them.
    """

    old: Scenario
    new: NewSide
    progress: PairsProgress
    software: dict[Side, Mapping[str, FactValue]] = field(default_factory=dict)


def new_side(request: pytest.FixtureRequest, old: Scenario, shared: SharedResources) -> NewSide:
    """Return the new side of a scenario, after its own checks; the old side's fixtures are ready.

    Raises:
        Dsr1Error: the new side cannot run here, or cannot be compared.
    """
    from pytest_dsr1.gate.eligibility import refuse_unfit
    from pytest_dsr1.machine.lease import RESULT_BYTES, look
    from pytest_dsr1.pairs.compared import as_start
    from pytest_dsr1.scenario.variables import resolve
    from pytest_dsr1.workload.checkpoint import check_checkpoint

    state, selection = request.config.stash[STATE], request.config.stash[SELECTION]
    loaded = selection.sides[old.name]
    prefix = selection.test_id_prefix(loaded.path)
    scenario = as_start(resolve(loaded.scenario, os.environ))
    refuse_unfit(loaded, scenario, lambda: ready(request, "dsr1_dataset")[0], searches=False)
    findings = look(
        scenario, state.gpu_setup, os.environ, state.results, RESULT_BYTES, reused=shared.keeps_server
    )
    if state.allow_mismatch:
        findings = allowed(findings)
    seen = ScenarioOutcome(loaded, prefix, findings)
    if seen.problem is not None:
        raise InvalidRunError(f"the new side: {seen.problem}")
    return NewSide(loaded, prefix, scenario, findings, check_checkpoint(scenario.model))


def take_of(
    request: pytest.FixtureRequest, scenario: Scenario, shared: SharedResources, pairing: Pairing
) -> Callable[[Side], Measurement]:
    """Return what makes a start of a side; the first one of the old side may be one that others judge too.

    Args:
        request: of a fixture that serves the scenario.
        scenario: of the old side, with its variables expanded.
        shared: the machine, and what is kept on it.
        pairing: the comparison.
    """
    from pytest_dsr1.pairs.order import Side

    state, progress = request.config.stash[STATE], pairing.progress
    noted, taken = len(progress.runs), {each.folder for each in progress.runs}
    old = takes(request, scenario, shared, lambda unseen: run(request, pairing.old, unseen), taken)

    def take(side: Side) -> Measurement:
        if len(progress.runs) == noted and (saved := _unnoted(state, pairing, side)) is not None:
            return saved
        found = old() if side is Side.OLD else _new(request, scenario, shared, pairing.new)
        _refuse_other_software(pairing, side, found)
        return found

    return take


def _unnoted(state: RunState, pairing: Pairing, side: Side) -> Measurement | None:
    """Return the last start of the pairs to go on with, if it was saved and not noted; None otherwise."""
    from pytest_dsr1.pairs.order import Side

    _, record = resume.paired(state, pairing.progress.plan.name)
    found = resume.unnoted(state, pairing.old if side is Side.OLD else pairing.new.scenario, record)
    return None if found is None or _other_software(pairing, side, found) else found


def _new(request: pytest.FixtureRequest, old: Scenario, shared: SharedResources, new: NewSide) -> Measurement:
    from pytest_dsr1.engines.registry import create

    given = inputs_of(request)
    with on_failure(shared.end_engines):
        shared.end_engines()  # before the GPUs are read for the new side
        # A user's own fixture may give the engine, which gets its scenario with each run.
        same = type(new.scenario.engine) is type(old.engine)
        engine = given.engine if same else create(new.scenario.engine, shared.pool(new.scenario))
        inputs = replace(
            given,
            findings=new.findings,
            checkpoint=new.checkpoint,
            machine=given.machine.of(new.scenario),
            engine=engine,
        )
        unseen = ScenarioOutcome(new.loaded, new.test_id_prefix)
        return run(request, new.scenario, unseen, inputs=inputs)


_SOFTWARE = ("engine.", "library.", "option.engine.", "file.")
_ALSO = ("driver", "container.image", "gpu.uuids", "model.content", "dataset.content")


def _other_software(pairing: Pairing, side: Side, found: Measurement) -> list[str]:
    """Return what differs in the software or machine of a start and of the other starts of its side."""
    facts = found.fingerprint.facts
    now = {key: value for key, value in facts.items() if key.startswith(_SOFTWARE) or key in _ALSO}
    before = pairing.software.setdefault(side, now)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return [f"{key} ({before.get(key)} and {now.get(key)})" for key in changed]


def _refuse_other_software(pairing: Pairing, side: Side, found: Measurement) -> None:
    """Refuse a start of another software or machine than the other starts of its side.

    Raises:
        UserError: it differs; the message lists what.
    """
    if changed := _other_software(pairing, side, found):
        raise UserError(
            f"{pairing.progress.plan.name}: the {side.value} side is not what it was at its first start: "
            f"{', '.join(changed)}; compare again without --dsr1-resume: {pairing.progress.again}"
        )


def go_on(pairing: Pairing, record: StudyRecord) -> None:
    """Take in the runs that an earlier session has made.

    Raises:
        UserError: a run cannot be read, or is not one of these sides.
    """
    from pytest_dsr1.pairs.compared import COMPARED
    from pytest_dsr1.pairs.order import Side
    from pytest_dsr1.pairs.progress import PairRun
    from pytest_dsr1.study.eligibility import figure
    from pytest_dsr1.study.measured import is_of

    progress, plan = pairing.progress, pairing.progress.plan
    for side, found in progress.saved(record):
        scenario = pairing.old if side is Side.OLD else pairing.new.scenario
        gate = found.scenario.gate
        same_question = (found.scenario.gated_metric, gate.delta_percent) == (plan.metric, plan.delta_percent)
        if not (is_of(found, scenario, COMPARED) and same_question):
            raise UserError(
                f"--dsr1-resume: the {side.value} side of {plan.name} is not that of its newest pairs, as in "
                f"{found.folder}; run it without this option"
            )
        _refuse_other_software(pairing, side, found)
        progress.add(PairRun(side, str(found.folder), figure(found)))


def start_s(request: pytest.FixtureRequest, scenario: Scenario) -> tuple[float | None, str]:
    """Return the time of one start with its run, in s, and what it comes from."""
    from pytest_dsr1.errors import Dsr1Error
    from pytest_dsr1.measurement.expected import expected_s
    from pytest_dsr1.measurement.store import load, newest
    from pytest_dsr1.steady.trace import trace

    try:
        folder = newest(request.config.stash[STATE].results / scenario.name)
        if folder is not None:
            found = load(folder)
            return trace(found).startup_s + found.measured_s, f"as in {folder}"
    except Dsr1Error:
        pass  # it is only an estimate
    found_s = expected_s(scenario)
    return found_s, "" if found_s is None else "without the time to start the engine, which is not known yet"
