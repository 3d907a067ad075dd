"""Rules about questions: which engines answer them, and which answers say something."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

from pytest_dsr1.scenario.rules.registry import Rules
from pytest_dsr1.scenario.schema.accuracy import SAME_ANSWERS
from pytest_dsr1.scenario.schema.engine import engines
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario

rules = Rules()
must = rules.must

_KEY = "accuracy"


@must(_KEY)
def _something_to_ask(scenario: Scenario) -> Findings:
    """`accuracy` has `same_answers`, `tasks`, or both."""
    if scenario.accuracy is not None and not list(scenario.accuracy.test_names):
        yield _KEY, "expected `same_answers`, `tasks` or both; found none"


@must(_KEY, "engine.type")
def _engine_answers(scenario: Scenario) -> Findings:
    """`accuracy` needs an engine that returns its answers; `trtllm-bench` returns none."""
    if scenario.accuracy is not None and not scenario.engine.answers_questions:
        able = ", ".join(f"`{name}`" for name, each in engines().items() if each.settings.answers_questions)
        message = (
            f"the engine `{scenario.engine.type}` does not return its answers: use one of {able}, or ask "
            "with a second scenario that extends this one"
        )
        yield _KEY, message


@must(_KEY, "speculation")
def _answers_are_natural(scenario: Scenario) -> Findings:
    """`accuracy` is not used with `speculation`: a forced acceptance changes the text."""
    if scenario.accuracy is not None and scenario.speculation is not None:
        yield _KEY, f"not possible with `speculation`: {scenario.forced}, which changes the text"


@must("accuracy.tasks", "model.random_weights")
def _weights_know_answers(scenario: Scenario) -> Findings:
    """`accuracy.tasks` need trained weights, not `model.random_weights`."""
    tasks = scenario.accuracy.tasks if scenario.accuracy else ()
    if tasks and scenario.model.random_weights is not None:
        message = (
            "not possible with `model.random_weights`, which answer no question rightly; use "
            "`accuracy.same_answers`, or `model.path`"
        )
        yield "accuracy.tasks", message


@must("accuracy.same_answers", "load.num_requests")
def _prompts_exist(scenario: Scenario) -> Findings:
    """`accuracy.same_answers.prompts` is at most `load.num_requests`."""
    same = scenario.accuracy.same_answers if scenario.accuracy else None
    most = scenario.load.num_requests
    if same is not None and same.prompts > most:
        yield (
            "accuracy.same_answers.prompts",
            f"expected at most load.num_requests, {most}; found {same.prompts}",
        )


@must("accuracy.tasks")
def _names_differ(scenario: Scenario) -> Findings:
    """The tasks of `accuracy` have different names, and none is `same_answers`."""
    tasks = scenario.accuracy.tasks if scenario.accuracy else ()
    used = Counter([SAME_ANSWERS])
    for index, task in enumerate(tasks):
        name, key = task.test_name, f"accuracy.tasks.{index}"
        if task.name is None and "${" in PurePath(task.path or "").name:
            yield key, "expected `name`, because the name of the file is known only when it runs; found none"
            continue
        used[name] += 1
        if used[name] > 1:
            taken = "the name of the other part" if name == SAME_ANSWERS else "the name of another task"
            yield key, f"{name} is {taken}; set another `name`"


def sequence_needed(scenario: Scenario, longest_input: int) -> int:
    """Return the least `engine.max_seq_len` that the questions need, in tokens; 0 without questions.

    Args:
        scenario: the scenario.
        longest_input: of the dataset, in tokens. The length of a task's questions is unknown: one token.
    """
    if scenario.accuracy is None:
        return 0
    same = scenario.accuracy.same_answers
    lengths = [1 + task.max_output_tokens for task in scenario.accuracy.tasks]
    return max([*lengths, 0 if same is None else longest_input + same.output_tokens], default=0)
