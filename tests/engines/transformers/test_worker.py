"""The transformers engine with its real worker: torch, transformers and a tiny model on the CPU.

One run through the engine's child process is shared by the tests that look at it; the worker's errors are
shown in this process, where torch is imported once.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.engines.transformers import worker
from pytest_dsr1.engines.transformers.engine import TransformersEngine
from pytest_dsr1.engines.transformers.job import WorkerJob
from pytest_dsr1.errors import EngineError
from pytest_dsr1.process.worker import Events, WorkerError, main
from pytest_dsr1.records import Answer, Question, QuestionSet, RequestRecord
from pytest_dsr1.workload.deepseek import parameter_count, resolve_config
from pytest_dsr1.workload.workload import Workload
from tests.helpers.events import events_in
from tests.helpers.tiny_model import TINY
from tests.helpers.values import scenario
from tests.helpers.watcher import Watcher

pytestmark = [
    pytest.mark.cpu_engine,
    pytest.mark.skipif(
        not (find_spec("torch") and find_spec("transformers")), reason="needs the extra `transformers`"
    ),
]

LENGTHS = [(8, 4), (5, 4), (8, 6), (8, 1), (8, 4), (3, 4), (8, 4), (8, 4), (8, 4), (6, 2)]
"""(input, output) tokens of the ten requests: mostly 8 and 4, some not."""


@pytest.fixture(scope="module")
def inputs() -> list[list[int]]:
    draw = random.Random(1)
    return [[draw.randrange(TINY["vocab_size"]) for _ in range(length)] for length, _ in LENGTHS]


@pytest.fixture(scope="module")
def dataset(inputs: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "dataset.jsonl"
    rows = [
        {"task_id": i, "input_ids": ids, "output_tokens": tokens}
        for i, (ids, (_, tokens)) in enumerate(zip(inputs, LENGTHS, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_job(dataset: Path, artifacts: Path, config: dict[str, Any] | None = None) -> Job:
    of = scenario(
        model={"name": "deepseek-ai/DeepSeek-R1", "random_weights": {"seed": 3, "config": config or TINY}},
        load={"concurrency": 4, "num_requests": 10, "warmup_requests": 5},
    )
    return Job(of, Workload(dataset, 10, "ab12", True, 7.0, 8, 3.7, 6), artifacts, 60.0)


@pytest.fixture(scope="module")
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture(scope="module")
def result(dataset: Path, watcher: Watcher, tmp_path_factory: pytest.TempPathFactory) -> EngineResult:
    return TransformersEngine().run(make_job(dataset, tmp_path_factory.mktemp("artifacts")), watcher)


def test_every_request_has_its_exact_lengths(result: EngineResult) -> None:
    by_id = {record.id: record for record in result.records}
    assert [(by_id[i].input_tokens, by_id[i].output_tokens) for i in range(10)] == LENGTHS
    assert all(record.decoding_iterations == record.output_tokens for record in result.records)
    assert all(record.error is None for record in result.records)


def test_requests_run_in_batches_of_the_concurrency(result: EngineResult) -> None:
    batches: dict[float, list[RequestRecord]] = {}
    for record in result.records:
        batches.setdefault(record.submitted_s, []).append(record)
    assert [sorted(record.id for record in batch) for _, batch in sorted(batches.items())] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    starts = sorted(batches)
    ends = [max(record.last_token_s for record in batches[start]) for start in starts]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_times_are_in_order(result: EngineResult) -> None:
    for record in result.records:
        assert record.first_token_s is not None
        assert record.submitted_s < record.first_token_s <= record.last_token_s
        assert (record.first_token_s == record.last_token_s) == (record.output_tokens == 1)
    assert [r.last_token_s for r in result.records] == sorted(r.last_token_s for r in result.records)


def test_the_observer_sees_it_happen(result: EngineResult, watcher: Watcher) -> None:
    assert list(dict.fromkeys(watcher.phases)) == ["starting", "loading", "warm-up", "measuring", "finishing"]
    assert sorted(watcher.ids) == list(range(10))
    assert watcher.done[-1] == (10, sum(tokens for _, tokens in LENGTHS))
    assert result.gpus == 0


def test_the_facts_describe_the_model(result: EngineResult) -> None:
    import torch
    import transformers

    assert result.versions["torch"] == torch.__version__
    assert result.versions["transformers"] == transformers.__version__
    facts = result.facts.saved()
    assert facts["parameters"] == parameter_count(resolve_config(TINY))
    assert facts["weight_bytes"] == 4 * parameter_count(resolve_config(TINY))
    assert facts["weights"] == "random, seed 3; every logit was finite"
    assert (facts["device"], facts["decode_step"], facts["batch_size"]) == ("cpu", "eager", 4)
    assert facts["openmp_wait_policy"] == os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    assert 2 <= float(str(facts["distinct_experts_observed"])) <= 4
    assert "bandwidth_bound" not in facts
    assert facts["options_in_effect"] == {
        "dtype": {"in_effect": "float32", "asked": "float32", "read_from": "model"},
        "cuda_graphs": {"in_effect": False, "asked": False, "read_from": "decode_step"},
        "attention_backend": {"in_effect": "sdpa", "read_from": "model.config"},
    }
    assert result.warnings == ()


@pytest.mark.parametrize(("seed", "same"), [(3, True), (4, False)])
def test_answers_are_those_of_the_plain_model_with_this_seed(
    result: EngineResult, inputs: list[list[int]], seed: int, same: bool
) -> None:
    """Batching, padding and the static cache change nothing: a full forward for each token agrees."""
    import torch

    from pytest_dsr1.engines.transformers.model import build_model

    model = build_model(resolve_config(TINY), seed=seed, dtype=torch.float32, device=torch.device("cpu"))
    assert (
        sum(p.numel() for p in model.parameters()) == parameter_count(resolve_config(TINY)) - 4
    )  # router bias
    digest = hashlib.sha256()
    with torch.no_grad():
        for ids, (_, tokens) in zip(inputs, LENGTHS, strict=True):
            sequence = list(ids)
            for _ in range(tokens):
                sequence.append(int(model(torch.tensor([sequence])).logits[0, -1].argmax()))
            digest.update(json.dumps(sequence[len(ids) :]).encode())
    assert (result.facts.other["answers_sha256"] == digest.hexdigest()) is same


@pytest.fixture
def job(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerJob:
    """A job for the worker in this process."""
    for name in ("HF_HUB_OFFLINE", "USE_HUB_KERNELS"):  # which the worker sets
        monkeypatch.setenv(name, "")
    return WorkerJob(str(dataset), concurrency=4, num_requests=10, config=TINY)


def last_event(job: WorkerJob, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> dict[str, Any]:
    """Run the worker's program here; its last event."""
    job.save(folder / "job.json")
    status = main([str(folder / "job.json")], worker.work, worker.explain)
    event: dict[str, Any] = events_in(capfdbinary.readouterr().out)[-1]
    assert status == (event["event"] == "error")
    return event


def test_events_go_to_standard_output_by_hand(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    event = last_event(replace(job, num_requests=1, threads=1), tmp_path, capfdbinary)
    assert event["event"] == "result"
    assert event["facts"]["threads"] == 1


@pytest.mark.parametrize(("looks", "ended"), [(1, 0), (2, 0), (3, 4), (5, 8), (6, 10)])
def test_on_stop_it_gives_up_the_current_batch(
    looks: int, ended: int, job: WorkerJob, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It looks before each of three batches, and in the first and the third when some answers have ended."""
    looked: list[None] = []

    def told() -> bool:
        looked.append(None)
        return len(looked) >= looks

    with Events.opened() as events:
        worker.Run(job, events, told).run()
    sent = events_in(capfdbinary.readouterr().out)
    ids = [event["record"]["id"] for event in sent if event["event"] == "record"]
    assert ids == list(range(ended))
    assert sent[-1]["event"] == "result"


def test_a_real_run_that_has_shown_enough_is_stopped(tmp_path: Path) -> None:
    """The second batch alone would exceed the limit of the run."""
    path = tmp_path / "dataset.jsonl"
    rows = [{"task_id": i, "input_ids": [1, 2, 3], "output_tokens": 2 if i < 4 else 50_000} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "engine").mkdir()
    whole = make_job(path, tmp_path / "engine")
    job = replace(
        whole,
        scenario=whole.scenario.model_copy(
            update={"load": scenario(load={"concurrency": 4, "num_requests": 8}).load}
        ),
        workload=replace(whole.workload, requests=8),
        enough=lambda record: record.id == 3,
    )
    result = TransformersEngine().run(job, Watcher())
    assert result.stopped
    assert [record.id for record in result.records] == [0, 1, 2, 3]
    assert psutil.Process().children(recursive=True) == []


def test_only_the_first_requests_of_a_longer_file_are_sent(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    replace(job, num_requests=3).save(tmp_path / "job.json")
    assert main([str(tmp_path / "job.json")], worker.work, worker.explain) == 0
    events = events_in(capfdbinary.readouterr().out)
    assert [event["record"]["id"] for event in events if event["event"] == "record"] == [0, 1, 2]


def test_bad_fields_are_all_named(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    config = {**TINY, "hiden_size": 64, "topk_group": 2, "qk_rope_head_dim": 7}
    assert last_event(replace(job, config=config), tmp_path, capfdbinary)["message"] == (
        "model.random_weights.config: unknown field hiden_size (did you mean 'hidden_size'?); "
        "qk_rope_head_dim is 7, expected an even number; topk_group is 2, expected at most n_group (1)"
    )


def test_a_field_transformers_refuses(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    config = {**TINY, "hidden_act": "swoosh"}
    message = last_event(replace(job, config=config), tmp_path, capfdbinary)["message"]
    assert message.startswith("model.random_weights.config: transformers refused it: ")
    assert "swoosh" in message


def test_a_token_outside_the_vocabulary(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    message = last_event(replace(job, config={**TINY, "vocab_size": 4}), tmp_path, capfdbinary)["message"]
    assert f"{job.dataset}:1: token id " in message
    assert "is outside the model's vocabulary of 4" in message


def test_logits_that_are_not_finite(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    config = {**TINY, "initializer_range": 1e38}
    assert last_event(replace(job, config=config), tmp_path, capfdbinary)["message"] == (
        "the model's logits are not finite, so the run does not count; use dtype bfloat16 or float32 and "
        "DeepSeek-R1's own rope and scaling fields"
    )


def test_a_model_too_large_for_memory(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    message = last_event(replace(job, config={}, dtype="float32"), tmp_path, capfdbinary)["message"]
    assert message.startswith("the model's weights take 2499.8 GiB, but cpu has ")
    assert message.endswith(
        " GiB free; lower num_hidden_layers or n_routed_experts in model.random_weights.config"
    )


def test_no_cuda_device(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert last_event(replace(job, device="cuda"), tmp_path, capfdbinary)["message"] == (
        "engine.device is cuda, but torch 2.13.0+cpu (the CPU build) finds no CUDA device; look at "
        "`nvidia-smi` and CUDA_VISIBLE_DEVICES, install a CUDA build of torch, or set engine.device=cpu"
    )


def test_compile_is_for_the_gpu(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert last_event(replace(job, compile=True), tmp_path, capfdbinary)["message"] == (
        "engine.compile makes a CUDA graph of the decode step: set engine.device=cuda too"
    )


def test_a_decode_step_that_cannot_be_captured_is_a_warning(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def refuse() -> None:
        raise RuntimeError("no graphs here\nmore")

    monkeypatch.setattr(worker, "choose_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "Stream", refuse)
    replace(job, compile=True, num_requests=2).save(tmp_path / "job.json")
    assert main([str(tmp_path / "job.json")], worker.work, worker.explain) == 0
    events = events_in(capfdbinary.readouterr().out)
    assert [event["message"] for event in events if event["event"] == "warning"] == [
        f"decode step of batch 2: {way} failed (RuntimeError: no graphs here), so a slower one is used"
        for way in ("torch.compile in a CUDA graph", "CUDA graph, not compiled")
    ]
    facts = events[-1]["facts"]
    assert facts["decode_step"] == "eager"
    graphs = {"in_effect": False, "asked": True, "read_from": "decode_step"}
    assert facts["options_in_effect"]["cuda_graphs"] == graphs


def test_out_of_memory_on_the_gpu() -> None:
    import torch

    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore of it.")
    assert worker.explain(error) == (
        "CUDA is out of memory (CUDA out of memory. Tried to allocate 20.00 GiB.); lower load.concurrency, "
        "the lengths, or num_hidden_layers or n_routed_experts in model.random_weights.config"
    )


def test_an_unexpected_error_is_a_sentence_and_a_traceback_in_the_log(
    job: WorkerJob, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise RuntimeError("cosmic ray\nmore")

    monkeypatch.setattr(worker, "check_memory", surprise)
    job.save(tmp_path / "job.json")
    assert main([str(tmp_path / "job.json")], worker.work, worker.explain) == 1
    captured = capfdbinary.readouterr()
    assert events_in(captured.out)[-1]["message"] == (
        "the transformers engine failed: RuntimeError: cosmic ray"
    )
    assert b"in surprise" in captured.err


INSTALL_TORCH = (
    "install PyTorch (without a GPU its CPU build; see its Start Locally page), then "
    "`pip install 'pytest-dsr1[transformers]'`"
)


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("raise ModuleNotFoundError('no', name='torch')", "is not installed"),
        (
            "raise OSError('libcudart.so.13: no such file')",
            "cannot be imported (libcudart.so.13: no such file)",
        ),
        ("import the_moon", "cannot be imported (No module named 'the_moon')"),
    ],
)
def test_torch_is_missing_or_broken(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    trouble: str,
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), *sys.path]))
    (tmp_path / "artifacts").mkdir()
    with pytest.raises(EngineError) as caught:
        TransformersEngine().run(make_job(dataset, tmp_path / "artifacts"), Watcher())
    assert str(caught.value).startswith(f"small: torch {trouble} in {sys.executable}: {INSTALL_TORCH}\n")


def test_transformers_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("USE_HUB_KERNELS", "")
    with pytest.raises(WorkerError) as caught:
        worker.import_libraries()
    assert str(caught.value) == (
        f"transformers is not installed in {sys.executable}: install it with "
        "`pip install 'pytest-dsr1[transformers]'`"
    )


def test_the_worker_needs_the_standard_library_alone_until_it_runs() -> None:
    import subprocess

    code = (
        "import sys, pytest_dsr1.engines.transformers.worker; "
        "print(sorted({'pydantic', 'torch', 'numpy', 'yaml', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_openmp_sleeps_unless_the_user_decided_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    worker.wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == after


def test_questions_are_answered_as_measured_requests(
    dataset: Path, inputs: list[list[int]], tmp_path: Path
) -> None:
    asked = [Question(f"same_answers/{n}", tuple(inputs[n]), 9, ends=False) for n in (0, 5, 1)]
    job = replace(make_job(dataset, tmp_path), questions=(QuestionSet(tuple(asked), 1),))
    answers = TransformersEngine().run(job, Watcher()).answers
    assert [answer.id for answer in answers] == ["same_answers/0", "same_answers/5", "same_answers/1"]
    import torch

    from pytest_dsr1.engines.transformers.model import build_model

    device = torch.device("cpu")
    model = build_model(resolve_config(TINY), seed=3, dtype=torch.float32, device=device)
    for answer, question in zip(answers, asked, strict=True):
        ids = [int(token) for token in question.prompt]
        for _ in range(9):  # without a cache of keys and values
            logits = model(torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
        assert answer == Answer(question.id, tuple(ids[len(question.prompt) :]))
