"""One run, with an engine that does what a test says."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import warm_start
from pytest_dsr1.machine.lease import Machine
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.run import (
    RunRequest,
    facts_before,
    measure,
)
from pytest_dsr1.measurement.store import load
from pytest_dsr1.records import Answer, AskedQuestion, Enough, Observer, Question, QuestionSet
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.workload.checkpoint import CheckpointFacts
from pytest_dsr1.workload.questions import Questions
from tests.helpers.compile_caches import VARIABLES
from tests.helpers.values import measurement, records, scenario
from tests.helpers.watcher import Watcher


class Engine:
    """Answers four requests, unless it is enough earlier, after it did something."""

    def __init__(self, does: Callable[[], object] = lambda: None) -> None:
        self.does = does

    def run(self, job: Job, observer: Observer) -> EngineResult:
        self.does()
        done = []
        for record in records():
            done.append(record)
            if job.enough is not None and job.enough(record):
                break
        return EngineResult(tuple(done), {}, 100.0, 102.0, 0, stopped=len(done) < 4)

    def script(self, job: Job) -> str:
        return ""


@contextmanager
def watch(scenario: Scenario, expected_s: float, gpus: Callable[[], str]) -> Iterator[Observer]:
    yield Watcher()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """Measures in a folder whose compile caches are empty."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for variable in ("XDG_CACHE_HOME", *VARIABLES):
        monkeypatch.delenv(variable, raising=False)

    def once(
        engine: Engine,
        of: Scenario | None = None,
        enough: Enough | None = None,
        questions: Questions = Questions(),  # noqa: B008 - it is frozen
    ) -> Measurement:
        of = of or scenario()
        request = RunRequest(
            scenario=of,
            test_id_prefix="suites/small.yaml",
            engine=engine,
            machine=Machine(of, None, (), {}, {}),
            findings=(),
            checkpoint=CheckpointFacts(None, "DeepseekV3ForCausalLM", "none", "none", 0, 0, "ef56"),
            workload=measurement().workload,
            results=tmp_path / "results",
            enough=enough,
            questions=questions,
        )
        return measure(request, watch, lambda _: None)

    return once


def test_a_run_is_ended_when_it_is_enough(run: Callable[..., Measurement]) -> None:
    early = run(Engine(), enough=lambda record: record.id == 2)
    assert early.result.stopped
    assert early.warnings == ("the measurement was stopped early, after 3 of 4 requests",)
    assert load(early.folder) == early
    whole = run(Engine(), enough=lambda _: False)
    assert not whole.result.stopped
    assert whole.warnings == ()


def test_an_unexpected_error_of_our_own_engine_stays_one(run: Callable[..., Measurement]) -> None:
    with pytest.raises(ZeroDivisionError):
        run(Engine(lambda: 1 / 0))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_an_engine_fills_is_a_sentence(
    run: Callable[..., Measurement], tmp_path: Path, number: int
) -> None:
    def fills(name: str | None = None) -> None:
        raise OSError(number, "No space left on device", name)

    with pytest.raises(InvalidRunError) as caught:
        run(Engine(fills))
    (folder,) = (tmp_path / "results" / scenario().name).iterdir()
    rest = (
        "the engine's files cannot be written: No space left on device; free space there, or choose another "
        "folder with --dsr1-results=DIR"
    )
    assert str(caught.value) == f"{folder}/engine: {rest}"
    with pytest.raises(InvalidRunError, match=rf"^/elsewhere/options\.yml: {rest}$"):
        run(Engine(lambda: fills("/elsewhere/options.yml")))


def test_another_error_of_the_disk_is_not_taken_for_a_full_one(run: Callable[..., Measurement]) -> None:
    def lacks() -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "mistake.json")

    with pytest.raises(FileNotFoundError, match=r"mistake\.json"):
        run(Engine(lacks))


def test_what_the_engine_did_not_measure_has_no_value(run: Callable[..., Measurement]) -> None:
    class Doubtful(Engine):
        def run(self, job: Job, observer: Observer) -> EngineResult:
            facts = EngineFacts(not_measured={"average_ttft": "why", "average_tpot": "why"})
            return replace(super().run(job, observer), report={"average_tpot": 1.0}, facts=facts)

    missing = set(run(Engine()).metrics) - set(run(Doubtful()).metrics)
    assert missing == {"average_ttft", "average_tpot"}


def test_a_start_that_compiled_differs_from_one_that_did_not(
    run: Callable[..., Measurement], tmp_path: Path
) -> None:
    kernel = tmp_path / "home" / ".triton" / "cache" / "AB" / "kernel.cubin"

    def compiles() -> None:
        kernel.parent.mkdir(parents=True, exist_ok=True)
        kernel.write_bytes(b"code")

    first, second = run(Engine(compiles)), run(Engine(compiles))
    assert first.caches_filled == (str(tmp_path / "home" / ".triton" / "cache"),)
    assert second.caches_filled == ()
    assert load(first.folder) == first


def test_the_engines_own_environment_says_where_its_caches_are(
    run: Callable[..., Measurement], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    of = scenario(engine={"type": "openai", "environment": {"TRITON_CACHE_DIR": str(own)}})

    def compiles() -> None:
        own.mkdir()
        (own / "kernel.cubin").write_bytes(b"code")

    assert run(Engine(compiles), of).caches_filled == (str(own),)


def test_a_cache_that_is_too_large_to_look_at_is_a_warning(
    run: Callable[..., Measurement], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / ".triton" / "cache"
    folder.mkdir(parents=True)
    for name in "abc":
        (folder / name).touch()
    monkeypatch.setattr(warm_start, "MOST_ENTRIES", 2)
    assert run(Engine()).warnings == (
        f"{folder} holds more than 2 files, so it is unknown whether this start compiled anything there; "
        "delete old files in it",
    )


@pytest.mark.parametrize(
    ("variable", "key", "fact"),
    [("1.4", None, 2.4), ("1.4", 3.0, 3.0), ("0", None, None), (None, 2.4, 2.4), (None, None, None)],
)
def test_a_forced_length_is_a_fact_even_if_a_variable_forces_it(
    variable: str | None, key: float | None, fact: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run that `--dsr1-allow-mismatch` allows is not taken for a natural one."""
    name = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
    monkeypatch.setenv(name, variable) if variable else monkeypatch.delenv(name, raising=False)
    speculation = None if key is None else {"acceptance_length": key}
    engine = {"type": "trtllm-bench", "tp": 8}
    one = scenario(engine=engine, model={"name": "m", "path": "/m"}, speculation=speculation)
    machine: Any = SimpleNamespace(fingerprint=Fingerprint)
    run = measurement()
    checkpoint = CheckpointFacts(None, "DeepseekV3ForCausalLM", "none", "none", 0, 0, "ef56")
    facts = facts_before(machine, checkpoint, run.workload, one, Site()).facts
    assert facts.get("option.speculation.acceptance_length") == fact


def test_every_question_is_saved_with_its_answer(run: Callable[..., Measurement]) -> None:
    class Answering(Engine):
        def run(self, job: Job, observer: Observer) -> EngineResult:
            (asked,) = job.questions
            answers = (Answer(asked.questions[1].id, text="4"), Answer("other/0", text="?"))
            return replace(super().run(job, observer), answers=answers)

    known = tuple(Question(f"questions/{n}", f"{n}+{n}?", 8, ends=True) for n in (1, 2))
    expected = {"questions/1": "2", "questions/2": "4"}
    made = run(Answering(), questions=Questions((QuestionSet(known, 2),), expected))
    assert made.asked == (
        AskedQuestion("1+1?", "2", Answer("questions/1", error="the engine ended before it answered")),
        AskedQuestion("2+2?", "4", Answer("questions/2", text="4")),
    )
    assert made.result.answers == ()
    assert load(made.folder) == made
