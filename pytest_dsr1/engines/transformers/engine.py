"""The engine `transformers`: a DeepSeek-V3-architecture model with random weights, in a child process.

The model and the loop over the requests are in :mod:`pytest_dsr1.engines.transformers.worker`. This module
starts the worker, reads its events and makes the result of them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import AskingInterruptedError, EngineResult, Job
from pytest_dsr1.engines.transformers.decode_bound import decode_bound, mean_decode_step_s
from pytest_dsr1.engines.transformers.job import WorkerJob
from pytest_dsr1.engines.transformers.settings import Transformers
from pytest_dsr1.errors import EngineError
from pytest_dsr1.machine.gpu.known import KNOWN_GPUS
from pytest_dsr1.process.child import Child, environment
from pytest_dsr1.process.listener import Stopper, WorkerListener, WorkerReport
from pytest_dsr1.process.log import memory
from pytest_dsr1.process.questions import save as save_questions
from pytest_dsr1.records import Observer, RequestRecord
from pytest_dsr1.workload.deepseek import resolve_config

WORKER = (sys.executable, "-m", "pytest_dsr1.engines.transformers.worker")
LOG = "engine.log"
_SMALLER = (
    "lower load.concurrency, the lengths, or num_hidden_layers or n_routed_experts in "
    "model.random_weights.config"
)
_NEXT_STEPS = dict.fromkeys((memory.GPU_MEMORY, memory.GPU_MEMORY_LOADING, memory.HOST_MEMORY), _SMALLER)


class TransformersEngine:
    """The engine that runs one job in a worker process.

    Args:
        worker: the command that takes a job file and writes events.
    """

    def __init__(self, worker: Sequence[str] = WORKER) -> None:
        self._worker = worker

    def script(self, job: Job) -> str:
        """Return the pytest command: this engine has no program of its own."""
        line = f"pytest --dsr1-profile={shlex.quote(job.scenario.name)}"
        return f"# engine transformers, with the PyTorch of this environment\n{line}\n"

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            EngineError: the measurement failed; the message has one sentence and the log's last lines. The
                worker and all processes it started have ended.
        """
        request = job.artifacts / "job.json"
        replace(worker_job(job), questions=save_questions(job.artifacts, job.questions)).save(request)
        listener = _Listener(
            job.scenario.name,
            observer,
            log=job.artifacts / LOG,
            startup_timeout_s=Transformers.of(job.scenario).startup_timeout_s,
            run_timeout_s=job.run_timeout_s,
            next_steps=_NEXT_STEPS,
        )
        observer.phase("starting", "the transformers engine")
        with Child(
            [*self._worker, str(request)],
            env=environment(),
            cwd=job.artifacts,
            log=listener.log,
            events=True,
            commands=True,
        ) as child:
            stopper = Stopper(child, job.enough)
            report = listener.listen(child, stopper)
            answers = listener.answers(child, job.questions)
            listener.read_to_end(child)
        result = _result(job, listener, report, stop_requested=stopper.stop_sent)
        result = replace(result, answers=answers)
        if listener.interrupted:
            raise AskingInterruptedError(result)
        return result


class _Listener(WorkerListener):
    who = "the transformers engine"


def worker_job(job: Job) -> WorkerJob:
    """Return the part of a job that the worker needs.

    Raises:
        EngineError: the scenario names a checkpoint, which this engine cannot read.
    """
    scenario, engine = job.scenario, Transformers.of(job.scenario)
    if scenario.model.random_weights is None:
        raise EngineError(
            f"{scenario.name}: the transformers engine makes its model with random weights and cannot read a "
            f"checkpoint ({scenario.model.path}); replace model.path with model.random_weights, or choose "
            "another engine"
        )
    return WorkerJob(
        dataset=str(job.workload.path.absolute()),
        concurrency=scenario.load.at_once,
        num_requests=job.workload.requests,
        warmup_requests=scenario.load.warmup_requests,
        device=engine.device,
        dtype=engine.dtype,
        compile=engine.compile,
        threads=engine.threads,
        seed=scenario.model.random_weights.seed,
        config=scenario.model.random_weights.config,
    )


def _result(
    job: Job, listener: WorkerListener, report: WorkerReport, *, stop_requested: bool
) -> EngineResult:
    """Return the result of the measurement.

    Raises:
        EngineError: requests are missing.
    """
    records, result = report.records, report.result
    stopped = stop_requested and len(records) < job.workload.requests
    if len(records) != job.workload.requests and not stopped:
        raise listener.failure(
            f"the transformers engine answered {len(records)} requests, expected {job.workload.requests}"
        )
    listener.observer.progress(len(records), sum(record.output_tokens for record in records))
    facts = _facts(job, records, result.facts)
    warnings = list(report.warnings)
    if facts.share_of_bound is not None and facts.share_of_bound > 1:
        warnings.append(
            f"decode reached {facts.share_of_bound:.0%} of the memory-bandwidth bound; above 100% the "
            "measurement or the routing assumption is wrong"
        )
    return EngineResult(
        records=tuple(sorted(records, key=lambda record: record.last_token_s)),
        report={},
        measured_from_s=min(record.submitted_s for record in records),
        measured_to_s=max(record.last_token_s for record in records),
        gpus=Transformers.of(job.scenario).gpus,
        versions=result.versions,
        facts=facts,
        warnings=tuple(warnings),
        series=report.series,
        stopped=stopped,
    )


def _facts(of: Job, records: Sequence[RequestRecord], reported: Mapping[str, object]) -> EngineFacts:
    """Return the worker's facts; on a GPU add the memory-bandwidth bound and the share of it reached."""
    job, gpu = worker_job(of), str(reported.get("device"))
    other = dict(reported)
    options = other.pop("options_in_effect", {})
    facts = EngineFacts(options_in_effect=options if isinstance(options, dict) else {}, other=other)
    if job.device == "cpu":
        return facts
    known = KNOWN_GPUS.get(gpu)
    if known is None:
        unknown = f"none: pytest-dsr1 does not know the peak memory bandwidth of {gpu}"
        return replace(facts, bandwidth_bound=unknown)
    batch = min(job.concurrency, len(records))
    bound = decode_bound(
        resolve_config(job.config),
        batch=batch,
        context=sum(r.input_tokens + r.output_tokens / 2 for r in records) / len(records),
        value_bytes=4 if job.dtype == "float32" else 2,
        bandwidth_tb_s=known.hbm_tb_s,
    )
    step_s = mean_decode_step_s(records, batch)
    return replace(
        facts,
        bandwidth_bound=bound.formula,
        share_of_bound=bound.step_s / step_s if step_s else None,
        other={
            **other,
            "bandwidth_bound_tok_s": bound.output_tok_s,
            "distinct_experts_expected": bound.experts,
            **({"decode_tok_s": batch / step_s} if step_s else {}),
        },
    )
