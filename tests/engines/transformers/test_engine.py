"""The parent side of the transformers engine, with small programs instead of the worker."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.engines.protocol import AskingInterruptedError, Job
from pytest_dsr1.engines.transformers.engine import TransformersEngine, worker_job
from pytest_dsr1.engines.transformers.job import WorkerJob
from pytest_dsr1.errors import EngineError, UserError
from pytest_dsr1.records import Answer, Phase, Question, QuestionSet
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload
from tests.helpers.events import SAYS
from tests.helpers.values import scenario
from tests.helpers.waiting import ever_longer, written
from tests.helpers.watcher import Impatient, Watcher

PREAMBLE = (
    SAYS
    + """
import signal, time
def send(event, **fields):
    say(json.dumps({"event": event, "time_s": send.time_s, **fields}))
send.time_s = 9.5
def record(id, start, end):
    send("record", record=dict(id=id, submitted_s=start, first_token_s=start + 0.1, last_token_s=end,
                               input_tokens=8, output_tokens=4, decoding_iterations=4))
open("pid", "w").write(str(os.getpid()))
"""
)
FOUR_RECORDS = """
send("phase", phase="measuring")
send.time_s = 12.0
send("progress", requests=0, output_tokens=6)
for id, start, end in (0, 10.0, 12.0), (1, 10.0, 11.0), (2, 12.0, 13.0), (3, 12.0, 13.5):
    record(id, start, end)
send("phase", phase="finishing")
"""


def make_job(folder: Path, of: Scenario | None = None, *, run_timeout_s: float = 60.0) -> Job:
    """A job for ``of`` in an empty folder."""
    artifacts = folder / "engine"
    artifacts.mkdir()
    workload = Workload(folder / "dataset.jsonl", 4, "ab12", True, 8.0, 8, 4.0, 4)
    return Job(of or scenario(), workload, artifacts, run_timeout_s)


def engine(program: str) -> TransformersEngine:
    """The engine with ``program`` as its worker."""
    return TransformersEngine([sys.executable, "-c", PREAMBLE + program])


def gone(job: Job) -> bool:
    """Whether the worker's process has ended."""
    return not Path(f"/proc/{(job.artifacts / 'pid').read_text()}").exists()


def message_of(program: str, job: Job) -> str:
    """The message of a run that must fail."""
    with pytest.raises(EngineError) as caught:
        engine(program).run(job, Watcher())
    return str(caught.value)


def failure(program: str, job: Job) -> str:
    """Return the message of a failure, after which the worker must be gone."""
    message = message_of(program, job)
    assert gone(job)
    return message


def gpu_scenario() -> Scenario:
    """Two requests a batch on one GPU, with DeepSeek-R1's dimensions in four layers."""
    return scenario(
        engine={"type": "transformers", "device": "cuda", "dtype": "bfloat16", "compile": True},
        model={
            "name": "deepseek-ai/DeepSeek-R1",
            "random_weights": {"config": {"num_hidden_layers": 4, "first_k_dense_replace": 1}},
        },
    )


def test_events_become_records_progress_and_a_result(tmp_path: Path) -> None:
    watcher = Watcher()
    program = (
        FOUR_RECORDS
        + """
send("warning", message="decode is eager")
send("result", versions={"torch": "2.13.0"}, facts={"device": "cpu", "parameters": 7})
"""
    )
    result = engine('send("phase", phase="loading", detail="weights")' + program).run(
        make_job(tmp_path), watcher
    )
    steps = [f"{phase} {detail}".strip() for phase, detail in watcher.steps]
    assert steps == ["starting the transformers engine", "loading weights", "measuring", "finishing"]
    assert watcher.done == [(0, 6), (4, 16)]
    assert watcher.ids == [0, 1, 2, 3]
    assert [record.id for record in result.records] == [1, 0, 2, 3]  # in order of completion
    assert (result.measured_from_s, result.measured_to_s, result.gpus) == (10.0, 13.5, 0)
    assert result.versions == {"torch": "2.13.0"}
    assert result.facts.saved() == {"device": "cpu", "parameters": 7}
    assert result.warnings == ("decode is eager",)
    assert result.series == ((12.0, 6 / 2.5),)


def test_the_worker_is_told_the_scenario(tmp_path: Path) -> None:
    job = make_job(tmp_path, gpu_scenario())
    with pytest.raises(EngineError):
        engine("").run(job, Watcher())
    assert WorkerJob.load(job.artifacts / "job.json") == WorkerJob(
        dataset=str(tmp_path / "dataset.jsonl"),
        concurrency=2,
        num_requests=4,
        warmup_requests=0,
        device="cuda",
        dtype="bfloat16",
        compile=True,
        threads=None,
        seed=0,
        config={"num_hidden_layers": 4, "first_k_dense_replace": 1},
    )


def test_an_error_event_is_the_message_with_the_end_of_the_log(tmp_path: Path) -> None:
    message = failure(
        'print(*range(20), sep="\\n", flush=True); send("error", message="the GPU is on fire"); sys.exit(1)',
        make_job(tmp_path),
    )
    log = tmp_path / "engine" / "engine.log"
    assert message == (
        f"small: the GPU is on fire\nThe relevant lines of {log}:\n"
        "  | 12\n  | 13\n  | 14\n  | 15\n  | 16\n  | 17\n  | 18\n  | 19"
    )


def test_an_exit_without_a_result(tmp_path: Path) -> None:
    assert failure("sys.exit(3)", make_job(tmp_path)) == (
        "small: the transformers engine's worker ended with exit status 3 and no result\n"
        f"Nothing was logged in {tmp_path / 'engine' / 'engine.log'}."
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SIGSEGV", " (segmentation fault), a bug or software that does not fit together"),
        (
            "SIGKILL",
            "; the kernel's out-of-memory killer does that when the host's memory runs short: look at "
            "dmesg, and "
            "lower load.concurrency, the lengths, or num_hidden_layers or n_routed_experts in "
            "model.random_weights.config\n",
        ),
    ],
)
def test_a_killed_worker(tmp_path: Path, name: str, hint: str) -> None:
    message = failure(f"os.kill(os.getpid(), signal.{name})", make_job(tmp_path))
    assert f"small: the transformers engine was killed by {name}{hint}" in message


def test_a_worker_that_does_not_start_to_measure(tmp_path: Path) -> None:
    for limit_s in ever_longer(0.5, lambda: written(tmp_path, "*/engine/pid")):
        slow = scenario(engine={"type": "transformers", "startup_timeout_s": limit_s})
        folder = tmp_path / f"{limit_s:g}"
        folder.mkdir()
        job = make_job(folder, slow)
        message = message_of("signal.pause()", job)
    assert gone(job)
    assert (
        f"small: the transformers engine did not start to measure within {limit_s:g} s and was stopped; if "
        "it was only slow, raise engine.startup_timeout_s\n"
    ) in message


def test_a_worker_that_hangs_while_it_measures(tmp_path: Path) -> None:
    message = failure(
        'send("phase", phase="measuring"); signal.pause()', make_job(tmp_path, run_timeout_s=0.2)
    )
    assert (
        "small: the transformers engine did not finish within 0.2 s and was stopped; if it was only slow, "
        "raise engine.run_timeout_s\n"
    ) in message


def test_a_worker_that_talks_all_the_time_is_stopped_too(tmp_path: Path) -> None:
    program = 'send("phase", phase="measuring")\nwhile True: print("still here", flush=True)'
    more = "still here\n" * 10_000  # than is read at once, so that what came first has been heard
    for limit_s in ever_longer(0.2, lambda: written(tmp_path, "*/engine/engine.log", more)):
        folder = tmp_path / f"{limit_s:g}"
        folder.mkdir()
        message = failure(program, make_job(folder, run_timeout_s=limit_s))
    assert f"did not finish within {limit_s:g} s" in message
    assert message.endswith("\n  | still here")


@pytest.mark.parametrize("line", ["no JSON", '{"event": "party"}', '{"event": "progress", "requests": "x"}'])
def test_an_event_that_is_none(tmp_path: Path, line: str) -> None:
    message = failure(f"say({line!r}); signal.pause()", make_job(tmp_path))
    assert f"small: the transformers engine's worker wrote an invalid event: {line!r}\n" in message


def test_missing_requests(tmp_path: Path) -> None:
    message = failure('record(0, 1.0, 2.0); send("result", versions={}, facts={})', make_job(tmp_path))
    assert "small: the transformers engine answered 1 requests, expected 4\n" in message


def test_a_run_that_has_shown_enough_is_stopped(tmp_path: Path) -> None:
    """The worker ends when it is stopped, and never by itself."""
    program = """
record(0, 10.0, 12.0)
record(1, 10.0, 12.5)
assert sys.stdin.readline() == "stop\\n"
send("result", versions={}, facts={})
"""
    job = replace(make_job(tmp_path), enough=lambda record: record.id == 1)
    result = engine(program).run(job, Watcher())
    assert result.stopped
    assert [record.id for record in result.records] == [0, 1]
    assert (result.measured_from_s, result.measured_to_s) == (10.0, 12.5)
    assert gone(job)


def test_enough_at_the_last_request_is_a_whole_run(tmp_path: Path) -> None:
    program = FOUR_RECORDS + 'send("result", versions={}, facts={})'
    result = engine(program).run(replace(make_job(tmp_path), enough=lambda r: r.id == 3), Watcher())
    assert (len(result.records), result.stopped) == (4, False)


def test_requests_that_are_lost_are_no_early_stop(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), enough=lambda _: False)
    message = failure('record(0, 1.0, 2.0); send("result", versions={}, facts={})', job)
    assert "small: the transformers engine answered 1 requests, expected 4\n" in message


def test_nothing_is_left_after_ctrl_c(tmp_path: Path) -> None:
    class Impatient(Watcher):
        def phase(self, phase: Phase, detail: str = "") -> None:
            if phase == "loading":
                raise KeyboardInterrupt

    job = make_job(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        engine('send("phase", phase="loading"); signal.pause()').run(job, Impatient())
    with pytest.raises(ProcessLookupError):
        os.kill(int((job.artifacts / "pid").read_text()), 0)


def test_a_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = scenario(model={"name": "deepseek-ai/DeepSeek-R1", "path": "/models/r1"})
    with pytest.raises(EngineError) as caught:
        worker_job(make_job(tmp_path, checkpoint))
    assert str(caught.value) == (
        "small: the transformers engine makes its model with random weights and cannot read a checkpoint "
        "(/models/r1); replace model.path with model.random_weights, or choose another engine"
    )


def test_another_engines_scenario_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        worker_job(make_job(tmp_path, scenario(engine={"type": "trtllm-bench"})))
    assert str(caught.value) == "small: the engine is trtllm-bench, expected transformers"


def test_the_script_is_the_pytest_line(tmp_path: Path) -> None:
    assert TransformersEngine().script(make_job(tmp_path)) == (
        "# engine transformers, with the PyTorch of this environment\npytest --dsr1-profile=small\n"
    )


def test_the_bandwidth_bound_and_the_share_reached(tmp_path: Path) -> None:
    facts = json.dumps({"device": "NVIDIA H200"})
    program = FOUR_RECORDS + f'send("result", versions={{}}, facts={facts})'
    result = engine(program).run(make_job(tmp_path, gpu_scenario()), Watcher())
    # Batches decode for 1.9 s and 1.4 s, in 3 steps each.
    assert result.facts.other["decode_tok_s"] == pytest.approx(2 / (3.3 / 6))
    bound = result.facts.other["bandwidth_bound_tok_s"]
    assert isinstance(bound, float)
    assert result.facts.share_of_bound == pytest.approx(2 / (3.3 / 6) / bound)
    assert f"= {bound:.1f} tok/s" in str(result.facts.bandwidth_bound)
    assert result.facts.other["distinct_experts_expected"] == pytest.approx(256 * (1 - (1 - 8 / 256) ** 2))
    assert result.gpus == 1
    assert result.warnings == ()


def test_no_bound_for_a_gpu_of_unknown_bandwidth(tmp_path: Path) -> None:
    program = FOUR_RECORDS + 'send("result", versions={}, facts={"device": "NVIDIA T4"})'
    result = engine(program).run(make_job(tmp_path, gpu_scenario()), Watcher())
    assert result.facts.saved() == {
        "device": "NVIDIA T4",
        "bandwidth_bound": "none: pytest-dsr1 does not know the peak memory bandwidth of NVIDIA T4",
    }


def test_faster_than_the_bound_is_a_warning(tmp_path: Path) -> None:
    program = """
send("phase", phase="measuring")
for id in range(4):
    record(id, 10.0, 10.1 + 3e-6)
send("result", versions={}, facts={"device": "NVIDIA H200"})
"""
    fast = gpu_scenario().model_copy(
        update={"load": scenario(load={"concurrency": 4, "num_requests": 4}).load}
    )
    result = engine(program).run(make_job(tmp_path, fast), Watcher())
    (warning,) = result.warnings
    assert warning.endswith(
        "% of the memory-bandwidth bound; above 100% the measurement or the routing assumption is wrong"
    )


RESULT = 'send("result", versions={}, facts={"device": "cpu"})\n'
ASKED = 'assert os.read(0, 100) == b"ask\\n"\n'
QUESTIONS = (QuestionSet(tuple(Question(f"same_answers/{n}", (n, 1), 2, ends=False) for n in range(3)), 1),)


def asked(folder: Path, program: str, *, run_timeout_s: float = 60.0) -> tuple[tuple[Answer, ...], Watcher]:
    """The answers of a worker that runs this program after its measurement; all requests are measured."""
    job = replace(make_job(folder, run_timeout_s=run_timeout_s), questions=QUESTIONS)
    watcher = Watcher()
    result = engine(FOUR_RECORDS + RESULT + ASKED + program).run(job, watcher)
    assert len(result.records) == 4
    assert gone(job)
    return result.answers, watcher


def test_answers_come_after_the_result(tmp_path: Path) -> None:
    program = """
for set_ in json.load(open(json.load(open("job.json"))["questions"])):
    for question in reversed(set_["questions"]):
        send("answer", answer={"id": question["id"], "tokens": question["prompt"]})
"""
    answers, watcher = asked(tmp_path, program)
    assert answers == tuple(Answer(f"same_answers/{n}", (n, 1)) for n in range(3))
    assert watcher.steps[-1] == ("finishing", "accuracy: 3 of 3 answers")
    assert ("finishing", "accuracy: 0 of 3 answers") in watcher.steps


ANSWER = 'send("answer", answer={"id": "same_answers/1", "text": "b"})\n'


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit(3)", "the transformers engine's worker ended with exit status 3 and no result"),
        ('send("error", message="no memory")', "no memory"),
        ('send("answer", answer={})', "the transformers engine's worker wrote an invalid event: "),
        ("time.sleep(60)", "the transformers engine gave no answer within 2 s"),
    ],
)
def test_a_worker_that_fails_while_it_answers_costs_only_answers(
    tmp_path: Path, program: str, why: str
) -> None:
    (first, second, third), _ = asked(tmp_path, ANSWER + program, run_timeout_s=2.0)
    assert second == Answer("same_answers/1", text="b")
    assert str(first.error).startswith(f"not answered: {why}")
    assert third.error == first.error


def test_ctrl_c_while_it_answers_costs_only_answers(tmp_path: Path) -> None:
    """The measured part is complete, so its result comes with the interruption."""
    job = replace(make_job(tmp_path), questions=QUESTIONS)
    program = FOUR_RECORDS + RESULT + ASKED + ANSWER + "time.sleep(60)"
    with pytest.raises(AskingInterruptedError) as caught:
        engine(program).run(job, Impatient("accuracy: 1 of 3 answers"))
    result = caught.value.result
    assert len(result.records) == 4
    missing = "not answered: interrupted"
    assert [answer.error for answer in result.answers] == [missing, None, missing]
    assert gone(job)
