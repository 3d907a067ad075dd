"""Searches and pairs of an earlier session, judged again from their saved runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import UserError
from pytest_dsr1.session.replay import SavedStudy
from pytest_dsr1.session.state import RunState, ScenarioOutcome

if TYPE_CHECKING:
    from pytest_dsr1.pairs.progress import PairsProgress
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.search.progress import SearchProgress, SearchResult
    from pytest_dsr1.verdict.verdict import Verdict


def replayed_search(
    state: RunState, outcome: ScenarioOutcome, saved: SavedStudy, progress: SearchProgress
) -> SearchResult:
    """Return what the probes of a saved search say, and show them as the search did.

    Args:
        state: of this session.
        outcome: of the scenario that was searched; gets the folder of its gate.
        saved: the search.
        progress: gets the probes.

    Raises:
        InconclusiveError: the search has not ended, or its probes do not answer what is asked now.
        UserError: a probe cannot be read.
    """
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.search.placing import Plan
    from pytest_dsr1.study.loop import Answer, InconclusiveError

    outcome.gate_folder = _gate_of(saved)
    for run in saved.record.runs:
        if run.why:
            progress.left_out.append(run.why)
            continue
        found = load(Path(run.folder))
        point = found.scenario.point
        if point is None:
            raise UserError(f"{run.folder}: expected a probe of a search, found another run")
        load_of = float(next(iter(point.values.values())))
        progress.count(Plan(load_of, 0.0, found.scenario.load.num_requests, sides=False), found)
        shown = state.outcome_of(
            replace(outcome.loaded, scenario=found.scenario, warnings=()), outcome.test_id_prefix
        )
        if shown.measurement is None:
            shown.measurement, shown.folder = found, found.folder
    step, count = progress.step(), len(progress.probes)
    if not saved.record.answer:
        raise InconclusiveError(
            f"{progress.name}: the search was stopped after {count} probes, before it had an answer: "
            f"`pytest --dsr1-profile={progress.name} --dsr1-resume` goes on"
        )
    if not isinstance(step, Answer):
        raise InconclusiveError(
            f"{progress.name}: its {count} saved probes do not answer what is asked now; search again: "
            f"`{progress.again}`"
        )
    return step.value


def _gate_of(saved: SavedStudy) -> Path | None:
    """Return where the gate is saved that a search was a run of: at a probe of the gate's first search."""
    from pytest_dsr1.gate.saved import read_gate
    from pytest_dsr1.study.record import SEARCH, newest_first

    own_folders = [*map(Path, saved.folders)]
    for folder in own_folders:
        if (folder / "gate.json").exists():
            return folder
    own = {folder.parts[-2:] for folder in own_folders}  # the folder of results may be moved
    with suppress(UserError):
        for path, record in newest_first(saved.path.parent.parent, saved.record.profile, SEARCH):
            for folder in map(Path, SavedStudy(path, record).folders):
                gate = read_gate(folder)
                if gate is not None and any(Path(run.folder).parts[-2:] in own for run in gate.runs):
                    return folder
    return None


def replayed_pairs(scenario: Scenario, outcome: ScenarioOutcome, saved: SavedStudy) -> Verdict:
    """Return the verdict of saved pairs, at the first pair that decides.

    Args:
        scenario: its ``gate`` says what is judged.
        outcome: of the scenario; gets the comparison.
        saved: the comparison.

    Raises:
        InconclusiveError: the pairs do not decide.
        UserError: a run cannot be read, or the comparison ended without a verdict.
    """
    from pytest_dsr1.pairs.order import seed_of
    from pytest_dsr1.pairs.plan import pairs_plan
    from pytest_dsr1.pairs.progress import PairRun, PairsProgress
    from pytest_dsr1.study.eligibility import figure
    from pytest_dsr1.study.loop import Answer

    record, name = saved.record, scenario.name
    again = f"pytest --dsr1-profile={name} --dsr1-against=CHANGE"
    plan = pairs_plan(scenario, seed=seed_of(record.began), again=again)
    progress = outcome.pairs = PairsProgress(plan)
    asked = {(plan.metric, plan.delta_percent)}
    for side, found in progress.saved(record):
        then = found.scenario
        asked.add((then.gated_metric or plan.metric, then.gate.delta_percent))
        gate = then.gate.model_copy(update={"metric": plan.metric})
        judged = replace(found, scenario=then.model_copy(update={"gate": gate}))
        progress.add(PairRun(side, str(found.folder), figure(judged)))
        if isinstance(step := progress.step(), Answer):
            return step.value
    raise _undecided(progress, saved, same_question=len(asked) == 1)


def _undecided(progress: PairsProgress, saved: SavedStudy, *, same_question: bool) -> Exception:
    """Return why saved pairs have no verdict."""
    from pytest_dsr1.study.loop import InconclusiveError

    name, counted = progress.plan.name, sum(not run.why for run in progress.runs)
    if not same_question:
        return InconclusiveError(
            f"{name}: the {len(progress.figures)} saved pairs do not decide whether there is a difference of "
            f"{progress.plan.delta_percent:g}%; compare again: `{progress.again}`"
        )
    if saved.record.answer:
        return UserError(saved.record.answer)
    return InconclusiveError(
        f"{name}: the pairs were stopped after {counted} engine starts that count, before they decided: "
        "the command of the comparison goes on with --dsr1-resume"
    )
