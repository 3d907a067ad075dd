"""The questions of a scenario's `accuracy`: prompts of its dataset, and tasks with known answers.

A task file has one JSON object per line: ours ``{"prompt": ..., "answer": ...}``, or GSM8K's own
``{"question": ..., "answer": "... #### 72"}``. Only what follows the last ``####`` is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.records import Answer, AskedQuestion, Question, QuestionSet
from pytest_dsr1.scenario.schema.accuracy import SAME_ANSWERS, SameAnswers, Task
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.storage.files import open_regular
from pytest_dsr1.text import VARIABLE, json_value
from pytest_dsr1.workload.dataset import iter_requests
from pytest_dsr1.workload.json_lines import half_surrogate, json_object
from pytest_dsr1.workload.workload import Workload

OWN_FILE = Path(__file__).parent / "data" / "questions.jsonl"
"""The questions that we ship."""
OWN_QUESTIONS = 200
"""Their number."""

_LARGEST = 64 << 20
"""Bytes of a task file: GSM8K has 0.75 MB, MLPerf's questions have 30 MB."""
_SHOWN_PROBLEMS = 20
_FORMAT = 'Each line is one JSON object such as {"prompt":"How many days has a week?","answer":"7"}.'


@dataclass(frozen=True, slots=True)
class KnownQuestion:
    """A question of a task, and its answer."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Questions:
    """All questions of a run.

    Attributes:
        sets: in the order in which they are asked.
        expected: the right answer by the question's id; without those of `same_answers`.
    """

    sets: tuple[QuestionSet, ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)

    def answered(self, answers: Iterable[Answer]) -> tuple[AskedQuestion, ...]:
        """Return every question with its answer, in order; one without an answer gets an error."""
        found = {answer.id: answer for answer in answers}
        missing = "the engine ended before it answered"
        return tuple(
            AskedQuestion(
                prompt=question.prompt if isinstance(question.prompt, str) else None,
                expected=self.expected.get(question.id),
                answer=found.get(question.id) or Answer(question.id, error=missing),
            )
            for each in self.sets
            for question in each.questions
        )


def questions_of(scenario: Scenario, workload: Workload) -> Questions:
    """Return the questions of a scenario, without ``${VARIABLE}``; none without `accuracy`.

    Args:
        scenario: the scenario.
        workload: its requests, at least as many as `same_answers` has prompts.

    Raises:
        InvalidRunError: files of questions are not usable; the message has every mistake in all of them.
    """
    if scenario.accuracy is None:
        return Questions()
    sets: list[QuestionSet] = []
    expected: dict[str, str] = {}
    if scenario.accuracy.same_answers is not None:
        sets.append(QuestionSet(tuple(_prompts(scenario.accuracy.same_answers, workload)), at_once=1))
    tasks = scenario.accuracy.tasks
    for task, known in zip(tasks, _read(tasks), strict=True):
        asked = tuple(_of_task(task, known))
        sets.append(QuestionSet(asked, at_once=min(scenario.load.at_once, len(asked))))
        expected |= {question.id: each.answer for question, each in zip(asked, known, strict=True)}
    return Questions(tuple(sets), expected)


def _prompts(asked: SameAnswers, workload: Workload) -> Iterator[Question]:
    for number, request in enumerate(iter_requests(workload.path, asked.prompts)):
        prompt = tuple(request.input_ids) if request.prompt is None and request.input_ids else request.prompt
        assert prompt is not None
        yield Question(f"{SAME_ANSWERS}/{number}", prompt, asked.output_tokens, ends=False)


def _of_task(task: Task, known: Iterable[KnownQuestion]) -> Iterator[Question]:
    for number, each in enumerate(known):
        yield Question(f"{task.test_name}/{number}", each.prompt, task.max_output_tokens, ends=True)


def read_questions(path: Path, limit: int | None = None) -> tuple[KnownQuestion, ...]:
    """Return the first ``limit`` questions of a task file, at least one; empty lines do not count.

    Raises:
        InvalidRunError: lines cannot be used (the message names the first 20), or the file has no question.
    """
    found: list[KnownQuestion] = []
    problems: list[str] = []
    for number, line in islice(_lines(path), limit):
        data = json_object(line)
        question = [data] if isinstance(data, str) else _question(data)
        if isinstance(question, KnownQuestion):
            found.append(question)
        else:
            problems += [f"  {path}:{number}: {problem}" for problem in question]
    if problems:
        head = f"{path} has questions that cannot be asked ({_count(len(problems), 'problem')}):"
        more = len(problems) - _SHOWN_PROBLEMS
        rest = [f"  and {more:,} more"] if more > 0 else []
        raise InvalidRunError("\n".join([head, *problems[:_SHOWN_PROBLEMS], *rest, _FORMAT]))
    if not found:
        raise InvalidRunError(f"{path} has no questions. {_FORMAT}")
    return tuple(found)


def count_questions(tasks: Sequence[Task]) -> tuple[int | None, ...]:
    """Return how many questions each task has; if its path has a variable, its limit, None without one.

    Raises:
        InvalidRunError: other files of questions are not usable; the message has every mistake in them.
    """
    known = iter(_read([task for task in tasks if not _is_open(task)]))
    return tuple(task.limit if _is_open(task) else len(next(known)) for task in tasks)


def _is_open(task: Task) -> bool:
    """Return whether only the run knows the file of a task."""
    return VARIABLE.search(task.path or "") is not None


def _read(tasks: Iterable[Task]) -> list[tuple[KnownQuestion, ...]]:
    """Return the questions of tasks. Raises InvalidRunError, whose message has every mistake in all files."""
    found: list[tuple[KnownQuestion, ...]] = []
    problems: list[str] = []
    for task in tasks:
        try:
            found.append(read_questions(OWN_FILE if task.path is None else Path(task.path), task.limit))
        except InvalidRunError as error:
            problems.append(str(error))
    if problems:
        raise InvalidRunError("\n".join(problems))
    return found


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield line numbers from 1 and lines that are not empty."""
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise InvalidRunError(
            f"{path}: there is no such file of questions; correct `path` in accuracy.tasks"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRunError(f"{path}: the questions cannot be read: {reason}") from None
    if len(content) > _LARGEST:
        raise InvalidRunError(
            f"{path} is larger than {_LARGEST >> 20} MiB, expected a JSONL file of questions; keep the first "
            "of them: head -n 1000"
        )
    for number, line in enumerate(content.split(b"\n"), 1):
        if stripped := line.strip():
            yield number, stripped


def _question(data: Mapping[str, object]) -> KnownQuestion | list[str]:
    keys = [key for key in ("prompt", "question") if data.get(key) is not None]
    if len(keys) > 1:
        return ["both prompt and question are present; keep one"]
    key = keys[0] if keys else "prompt"
    answer = data.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = f"{Decimal(repr(answer)):f}"
    elif isinstance(answer, str):
        answer = answer.rpartition("####")[2]
    prompt = data.get(key)
    problems = [*_text_problems(key, prompt), *_text_problems("answer", answer)]
    if problems:
        return problems
    return KnownQuestion(str(prompt), str(answer).strip())


def _text_problems(key: str, value: object) -> Iterator[str]:
    if value is None:
        yield f"{key} is missing" + ("; expected prompt or question" if key == "prompt" else "")
    elif not isinstance(value, str):
        yield f"{key} must be a string, found {json_value(value)}"
    elif not value.strip():
        yield f"{key} is empty"
    elif (index := half_surrogate(value)) is not None:
        yield f"{key} has half of a surrogate pair at character {index}; tokenizers reject that"
