"""Task files, our own questions, and the questions of a scenario."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.records import Answer, Question
from pytest_dsr1.scenario.schema.accuracy import Accuracy, SameAnswers, Task
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.json_lines import json_object
from pytest_dsr1.workload.questions import (
    OWN_FILE,
    OWN_QUESTIONS,
    KnownQuestion,
    Questions,
    count_questions,
    questions_of,
    read_questions,
)
from pytest_dsr1.workload.workload import Workload
from tests.helpers.values import scenario

FORMAT = 'Each line is one JSON object such as {"prompt":"How many days has a week?","answer":"7"}.'


def refusal(path: Path, limit: int | None = None) -> str:
    with pytest.raises(InvalidRunError) as caught:
        read_questions(path, limit)
    return str(caught.value)


def test_our_own_format_and_the_one_of_gsm8k(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b'{"prompt": "1+1?", "answer": 2, "more": []}\r\n\n'
        b'{"question": "How many clips?", "answer": "48/2 = <<48/2=24>>24\\n48+24 = 72\\n#### 72"}\n'
        b'{"question": "Capital of France?", "answer": "Paris"}'
    )
    first, second, third = read_questions(path)
    assert first == KnownQuestion("1+1?", "2")
    assert second == KnownQuestion("How many clips?", "72")
    assert third == KnownQuestion("Capital of France?", "Paris")
    assert read_questions(path, 1) == (first,)
    assert read_questions(path, 100) == (first, second, third)


def test_every_mistake_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b"[1]\n"
        b'{"prompt": "a"\n'
        b'{"prompt": "\xff", "answer": "1"}\n'
        b'{"prompt": "a", "question": "b", "answer": "1"}\n'
        b'{"answer": true}\n'
        b'{"prompt": " ", "answer": " "}\n'
        b'{"question": 7, "answer": "steps ####"}\n'
        b'{"prompt": "\\ud800", "answer": "1"}\n'
        b'{"prompt": "good", "answer": "1"}\n'
    )
    assert refusal(path).splitlines() == [
        f"{path} has questions that cannot be asked (11 problems):",
        f"  {path}:1: expected a JSON object, found a list",
        f"  {path}:2: not JSON: Expecting ',' delimiter at column 15; expected one whole object on the line",
        f"  {path}:3: not UTF-8: byte 0xff at column 13",
        f"  {path}:4: both prompt and question are present; keep one",
        f"  {path}:5: prompt is missing; expected prompt or question",
        f"  {path}:5: answer must be a string, found true",
        f"  {path}:6: prompt is empty",
        f"  {path}:6: answer is empty",
        f"  {path}:7: question must be a string, found 7",
        f"  {path}:7: answer is empty",
        f"  {path}:8: prompt has half of a surrogate pair at character 0; tokenizers reject that",
        FORMAT,
    ]
    path.write_bytes(b"x\n" * 30)
    *_, more, _ = refusal(path).splitlines()
    assert more == "  and 10 more"
    assert refusal(path, 1).startswith(f"{path} has questions that cannot be asked (1 problem):\n")


def test_a_file_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    assert refusal(path) == f"{path}: there is no such file of questions; correct `path` in accuracy.tasks"
    assert refusal(tmp_path) == f"{tmp_path}: the questions cannot be read: Is a directory"
    # Python words it in its own way, and another way since 3.13.
    assert refusal(Path("a\0b")).startswith("a\0b: the questions cannot be read: ")
    assert "embedded null" in refusal(Path("a\0b"))
    os.mkfifo(path)
    assert refusal(path) == f"{path}: the questions cannot be read: it is a device or pipe"
    path.unlink()
    path.write_text("\n \n")
    assert refusal(path) == f"{path} has no questions. {FORMAT}"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert refusal(path) == (
        f"{path} is larger than 64 MiB, expected a JSONL file of questions; keep the first of them: "
        "head -n 1000"
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "pairs.jsonl"
    lines = [json.dumps({"prompt": p, "answer": a}, ensure_ascii=ascii_only) + "\n" for p, a in pairs]
    path.write_text("".join(lines), encoding="utf-8")
    assert read_questions(path) == tuple(KnownQuestion(p, a.strip()) for p, a in pairs)


@given(st.binary())
def test_any_bytes_are_an_object_or_a_sentence(line: bytes) -> None:
    found = json_object(line)
    assert isinstance(found, dict) or found.startswith(
        ("not ", "the line ", "expected a JSON object, found ")
    )


DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
N = r"(\d+)"
FORMULAS: list[tuple[str, Callable[..., int]]] = [
    (
        f"buys {N} notebooks that cost {N} dollars each and {N} pens that cost {N} ",
        lambda a, b, c, d: a * b + c * d,
    ),
    (
        f"ticket costs {N} dollars. .* buys {N} tickets and pays with {N} ",
        lambda price, n, paid: paid - n * price,
    ),
    (f"leaves at {N}:{N} in the morning and travels for {N} minutes", lambda h, m, for_: 60 * h + m + for_),
    (f"A film lasts {N} hours and {N} minutes", lambda h, m: 60 * h + m),
    (f"rope is {N} meters long. A piece of {N} centimeters is cut off", lambda m, cm: 100 * m - cm),
    (f"rectangle, {N} meters long and {N} meters wide. .* fence", lambda a, b: 2 * a + 2 * b),
    (f"floor is a rectangle of {N} by {N} feet", lambda a, b: a * b),
    (f"{N} eggs are packed into boxes of {N}", lambda n, k: n % k),
    (f"{N} children go on a trip in buses with {N} seats", lambda n, k: (n + k - 1) // k),
    (f"{N} percent of the {N} members", lambda p, n: p * n // 100),
    (f"coat costs {N} dollars. Its price is lowered by {N} percent", lambda n, p: n * (100 - p) // 100),
    (f"has {N} stamps. .* has {N} stamps fewer", lambda x, y: x + (x - y)),
    (f"is {N} years old, and .* is {N} times as old", lambda x, y: x * (y - 1)),
    (f"How many days are {N} weeks and {N} days", lambda w, d: 7 * w + d),
    (f"sum of {N}, {N}, {N}, {N} and {N}", lambda *xs: sum(xs)),
    (f"largest and the smallest of the numbers {N}, {N}, {N} and {N}", lambda *xs: max(xs) - min(xs)),
    (f"at {N} kilometers per hour for {N} hours and then {N} kilometers more", lambda v, h, d: v * h + d),
    (
        f"{N} friends share a bill of {N} dollars equally. .* tip of {N} dollars",
        lambda k, n, tip: n // k + tip,
    ),
    (f"has {N} shelves with {N} books each. {N} of these", lambda s, b, lent: s * b - lent),
    (f"saves {N} dollars .* {N} dollars more .* week {N}", lambda s, k, n: s + (n - 1) * k),
    (f"{N} parts in a minute .* {N} minutes of each hour. .* in {N} hours", lambda b, a, h: b * h * (60 - a)),
    (f"four tests are {N}, {N}, {N} and {N}. What is their average", lambda *xs: sum(xs) // 4),
    (f"reads {N} pages on each weekday and {N} pages on each day of the weekend", lambda a, b: 5 * a + 2 * b),
]


def recomputed(prompt: str) -> list[int]:
    """Return the answers of every formula whose words are in a question."""
    found = [
        formula(*map(int, match.groups()))
        for words, formula in FORMULAS
        if (match := re.search(words, prompt)) is not None
    ]
    if match := re.search(r"letter (\w) occur in the word (\w+)", prompt):
        found.append(match[2].count(match[1]))
    if match := re.search(r"Today is (\w+)\. .* (\d+) days from now", prompt):
        found.append((DAYS.index(match[1]) + int(match[2])) % 7 + 1)
    return found


def test_our_own_questions_have_the_right_answers() -> None:
    known = read_questions(OWN_FILE)
    assert len(known) == len({each.prompt for each in known}) == OWN_QUESTIONS
    assert [[int(each.answer)] for each in known] == [recomputed(each.prompt) for each in known]
    instruction = " Put the final answer, a number, within \\boxed{}."
    assert all(each.prompt.endswith(instruction) for each in known)
    averages = [each.prompt for each in known if "average" in each.prompt]
    assert all(sum(map(int, re.findall(r"\d+", text))) % 4 == 0 for text in averages)


def asking(accuracy: Accuracy | None) -> Scenario:
    return scenario(load={"concurrency": 4, "num_requests": 3}).model_copy(update={"accuracy": accuracy})


def workload(folder: Path) -> Workload:
    path = folder / "data.jsonl"
    lines: list[dict[str, object]] = [{"input_ids": [1, 2]}, {"prompt": "two"}, {"input_ids": [3]}]
    path.write_text("".join(json.dumps({"task_id": 0, "output_tokens": 4, **line}) + "\n" for line in lines))
    return Workload(path, 3, "ab", False, None, None, 4.0, 4)


def test_the_questions_of_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    path.write_text('{"prompt": "1+1?", "answer": "2"}\n{"prompt": "2+2?", "answer": "4"}\n')
    same = SameAnswers(prompts=2, output_tokens=5)
    tasks = [Task(path=str(path), max_output_tokens=9), Task(limit=6)]
    questions = questions_of(asking(Accuracy(same_answers=same, tasks=tasks)), workload(tmp_path))
    first, second, third = questions.sets
    assert (first.at_once, second.at_once, third.at_once) == (1, 2, 4)
    assert first.questions == (
        Question("same_answers/0", (1, 2), 5, ends=False),
        Question("same_answers/1", "two", 5, ends=False),
    )
    assert second.questions[1] == Question("gsm8k/1", "2+2?", 9, ends=True)
    assert [each.id for each in third.questions] == [f"questions/{n}" for n in range(6)]
    assert third.questions[0].max_output_tokens == 16_384
    assert questions.expected["gsm8k/1"] == "4"
    assert len(questions.expected) == 8

    answers = [Answer("gsm8k/1", text="4"), Answer("same_answers/0", tokens=(7,))]
    asked = questions.answered(answers)
    assert [each.test for each in asked].count("questions") == 6
    assert (asked[0].prompt, asked[0].expected, asked[0].answer.tokens) == (None, None, (7,))
    assert (asked[3].prompt, asked[3].expected, asked[3].answer.text) == ("2+2?", "4", "4")
    assert asked[2].answer == Answer("gsm8k/0", error="the engine ended before it answered")


def test_the_questions_of_tasks_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text('{"prompt": "1+1?", "answer": "2"}\n' * 3, encoding="utf-8")
    somewhere = "${DSR1_SOMEWHERE}/sums.jsonl"
    tasks = [
        Task(),
        Task(limit=7),
        Task(path=somewhere),
        Task(path=somewhere, limit=9),
        Task(path=str(path)),
        Task(path=str(path), limit=2),
        Task(path=str(path), limit=9),
    ]
    assert count_questions(tasks) == (OWN_QUESTIONS, 7, None, 9, 3, 2, 3)


def test_files_that_cannot_be_asked_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    paths = (str(path), "${DSR1_SOMEWHERE}", str(tmp_path / "gone"))
    with pytest.raises(InvalidRunError) as caught:
        count_questions([Task(path=each) for each in paths])
    first, *_, last = str(caught.value).splitlines()
    assert first == f"{path} has questions that cannot be asked (2 problems):"
    assert last == f"{tmp_path}/gone: there is no such file of questions; correct `path` in accuracy.tasks"


def test_without_accuracy_nothing_is_asked(tmp_path: Path) -> None:
    assert questions_of(asking(None), workload(tmp_path)) == Questions()


def test_mistakes_in_all_files_are_reported_at_once(tmp_path: Path) -> None:
    tasks = [Task(path=str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(InvalidRunError) as caught:
        questions_of(asking(Accuracy(tasks=tasks)), workload(tmp_path))
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [
        str(tmp_path / "a.jsonl"),
        str(tmp_path / "b.jsonl"),
    ]
