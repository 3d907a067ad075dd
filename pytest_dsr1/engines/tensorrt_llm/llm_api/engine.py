"""The engine `trtllm`: TensorRT-LLM's LLM API in a child process, which loads the model once.

The LLM and the loop over the requests are in :mod:`pytest_dsr1.engines.tensorrt_llm.llm_api.worker`. This
module starts the worker, orders measurements, reads its events, and ends it. One run leaves these files in
the job's folder: ``job.json`` (the arguments of ``tensorrt_llm.LLM``), ``engine.log`` (all output),
``model/config.json`` for random weights, and ``iterations-N.jsonl`` for measurement N if
``llm_api.enable_iter_perf_stats`` is on; ``questions.json`` for a scenario with `accuracy`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import AskingInterruptedError, EngineResult, Job
from pytest_dsr1.engines.slurm_step import (
    in_container,
    in_shell,
    step_environment,
    step_variables,
    worker_command,
)
from pytest_dsr1.engines.tensorrt_llm.failures import next_steps
from pytest_dsr1.engines.tensorrt_llm.llm_api.arguments import asked, worker_job, write_model
from pytest_dsr1.engines.tensorrt_llm.llm_api.job import Order
from pytest_dsr1.engines.tensorrt_llm.settings import COUNTING_TOLERANCE, Trtllm
from pytest_dsr1.engines.trtllm_options.acceptance import forcing_variables
from pytest_dsr1.engines.trtllm_options.defaults import remarks
from pytest_dsr1.engines.trtllm_options.dialects import Dialect, choose_dialect, newer_than_known
from pytest_dsr1.errors import EngineError
from pytest_dsr1.machine.host import installed_version
from pytest_dsr1.masking import masked_tree
from pytest_dsr1.process.child import Child, Line
from pytest_dsr1.process.listener import Stopper, WorkerListener, WorkerReport
from pytest_dsr1.process.log.lines import plain_line
from pytest_dsr1.process.questions import save as save_questions
from pytest_dsr1.records import Answer, Enough, Observer, RequestRecord
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import shell_comment

WORKER = (sys.executable, "-m", "pytest_dsr1.engines.tensorrt_llm.llm_api.worker")
PACKAGE = "tensorrt-llm"
LOG = "engine.log"
ENDING_S = 60.0
"""The time in which TensorRT-LLM must end its own processes."""
PATIENCE_S = 30.0
"""The time without events after which the loss of one of TensorRT-LLM's processes counts as a failure."""

_REQUEST = "job.json"
"""The file with what the worker is asked for, in the folder of the job."""
_NO_WORKER = "No module named 'pytest_dsr1'"
_LOADING = re.compile(r"[Ll]oad|\d+%\|")


class TrtllmEngine:
    """The engine that runs one job with the LLM API.

    Args:
        worker: the command that takes a job file and orders, and writes events.
        patience_s: the longest time without events after a process of TensorRT-LLM has ended.
    """

    def __init__(self, worker: Sequence[str] = WORKER, *, patience_s: float = PATIENCE_S) -> None:
        self._worker = worker
        self._patience_s = patience_s

    def script(self, job: Job) -> str:
        """Return the pytest command after the arguments of the LLM: this engine has no program of its own.

        Raises:
            UserError: the version does not have some of the scenario's options.
        """
        engine, version = Trtllm.of(job.scenario), _version(job)
        dialect, because = choose_dialect(engine.dialect, version)
        made = worker_job(job, dialect)
        forced = forcing_variables(job.scenario, version, dialect)
        shown = {**made.arguments, **masked_tree(made.options)}
        # As JSON, a name has no line break either.
        arguments = [f"#   {json.dumps(name)[1:-1]}: {json.dumps(value)}" for name, value in shown.items()]
        arguments += [f"#   with {name}={value}" for name, value in forced.items()]
        arguments += [f"# warning: {remark}" for remark in remarks(asked(engine), version)]
        if job.scenario.hardware.nodes > 1:
            variables = _variables(job, version, dialect)
            command = worker_command(job, variables, self._worker, Path(_REQUEST))
            arguments.append(shell_comment(f"as a step of Slurm: {' '.join(in_shell(command))}"))
        line = f"pytest --dsr1-profile={shlex.quote(job.scenario.name)}"
        return "\n".join([because, "# engine trtllm: tensorrt_llm.LLM with", *arguments, line]) + "\n"

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure once.

        Raises:
            UserError: the version does not have some of the scenario's options.
            EngineError: the measurement failed; the message has one sentence and the log's last relevant
                lines. Nothing is left running.
        """
        with self.open(job, observer) as model:
            result = model.measure(job.enough)
            result = dataclasses.replace(result, answers=model.answers())
        if model.interrupted:
            raise AskingInterruptedError(result)
        return result

    @contextlib.contextmanager
    def open(self, job: Job, observer: Observer) -> Iterator[LoadedModel]:
        """Load the model once, for any number of measurements; afterwards nothing is left running.

        Raises:
            UserError: the version does not have some of the scenario's options.
            EngineError: TensorRT-LLM is not installed.
        """
        engine, version = Trtllm.of(job.scenario), _version(job)
        if version is None and not in_container(job):
            raise EngineError(
                f"{job.scenario.name}: tensorrt_llm is not installed in {sys.executable}; run pytest in "
                "NVIDIA's container (tensorrt-llm/release) or where TensorRT-LLM is installed"
            )
        dialect, _ = choose_dialect(engine.dialect, version)
        request = job.artifacts / _REQUEST
        asked = save_questions(job.artifacts, job.questions)
        dataclasses.replace(worker_job(job, dialect), questions=asked).save(request)
        variables = _variables(job, version, dialect)
        write_model(job)
        listener = _Listener(job, observer, startup_timeout_s=engine.startup_timeout_s)
        listener.patience_s = self._patience_s
        observer.phase("starting", f"TensorRT-LLM {version or 'of the container'}")
        with Child(
            worker_command(job, variables, self._worker, request),
            env=step_environment(job, variables),
            cwd=job.artifacts,
            log=listener.log,
            events=True,
            commands=True,
        ) as child:
            yield LoadedModel(listener, child)
            child.end_commands()
            listener.read_to_end(child, ENDING_S)


def _variables(job: Job, version: str | None, dialect: Dialect) -> dict[str, str]:
    """Return the variables of the worker, in addition to those of pytest."""
    own = Trtllm.of(job.scenario).environment
    return {**step_variables(job), **own, **forcing_variables(job.scenario, version, dialect)}


def _version(job: Job) -> str | None:
    """Return the version that is installed here; None if there is none, or the engine runs elsewhere."""
    return None if in_container(job) else installed_version(PACKAGE)


class LoadedModel:
    """A model that is loaded or loading."""

    def __init__(self, listener: _Listener, child: Child) -> None:
        self._listener, self._child = listener, child
        self._measured = 0

    def measure(self, enough: Enough | None = None) -> EngineResult:
        """Send all requests once; warm up before the first time.

        Args:
            enough: called with each record; ends the measurement when it returns true. Requests in flight are
                then given up, and the result has those that ended.

        Raises:
            EngineError: TensorRT-LLM failed, or did not answer every request as expected.
        """
        load = self._listener.job.scenario.load
        warmup_requests = 0 if self._measured else load.warmup_requests
        self._measured += 1

        def over(record: RequestRecord) -> bool:
            # After a failed request there is no valid measurement, so save GPU time.
            return record.error is not None or (enough is not None and enough(record))

        stopper = Stopper(self._child, over)
        self._child.send(Order(load.at_once, warmup_requests).line())
        report = self._listener.listen(self._child, stopper)
        return self._result(report, stop_requested=stopper.stop_sent)

    def answers(self) -> tuple[Answer, ...]:
        """Ask the job's questions; a failure costs only answers."""
        return self._listener.answers(self._child, self._listener.job.questions)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the asking."""
        return self._listener.interrupted

    def _result(self, report: WorkerReport, *, stop_requested: bool) -> EngineResult:
        listener, job = self._listener, self._listener.job
        records, wanted = report.records, job.workload.requests
        if failed := [record for record in records if record.error]:
            raise listener.failure(
                f"{len(failed)} of {len(records)} requests failed in TensorRT-LLM; the first, request "
                f"{failed[0].id} of the dataset: {failed[0].error}"
            )
        stopped = stop_requested and len(records) < wanted
        if len(records) != wanted and not stopped:
            raise listener.failure(f"TensorRT-LLM answered {len(records)} requests, expected {wanted}")
        self._check_drafts(records)
        listener.observer.progress(len(records), sum(record.output_tokens for record in records))
        engine, facts = Trtllm.of(job.scenario), self._facts(report)
        return EngineResult(
            records=tuple(sorted(records, key=lambda record: record.last_token_s)),
            report={},
            measured_from_s=min(record.submitted_s for record in records),
            measured_to_s=max(record.last_token_s for record in records),
            gpus=engine.gpus,
            versions=report.result.versions,
            facts=facts,
            warnings=(*report.warnings, *self._warnings(report.result.versions.get("tensorrt_llm"))),
            series=report.series,
            stopped=stopped,
        )

    def _check_drafts(self, records: Sequence[RequestRecord]) -> None:
        """Hold the decoding steps against the scenario's draft tokens.

        Raises:
            EngineError: the steps gave more tokens than the drafts allow.
        """
        asked = Trtllm.of(self._listener.job.scenario).draft_tokens
        steps = sum(record.decoding_iterations or 0 for record in records)
        accepted = sum(record.output_tokens for record in records) / max(steps, 1)
        if steps and asked is not None and accepted > (1 + asked) * COUNTING_TOLERANCE:
            raise self._listener.failure(
                f"TensorRT-LLM generated {accepted:.3g} tokens per step, which {asked} draft tokens per step "
                "cannot give: it ran other options than the scenario's"
            )

    def _warnings(self, version: str | None) -> Iterator[str]:
        engine = Trtllm.of(self._listener.job.scenario)
        if engine.eos_id >= 0:
            yield "answers end at the end token (engine.eos_id), so output lengths were not checked"
        yield from remarks(asked(engine), version)
        if not engine.dialect and version and (warning := newer_than_known(version)):
            yield warning

    def _facts(self, report: WorkerReport) -> EngineFacts:
        """Return the worker's facts with statistics of the iterations, and write their time series."""
        samples, facts = report.iterations, dict(report.result.facts)
        options = facts.pop("options_in_effect", {})
        if not samples:
            return EngineFacts(options_in_effect=options, other=facts)
        path = self._listener.job.artifacts / f"iterations-{self._measured}.jsonl"
        lines = [json.dumps(dataclasses.asdict(sample)) + "\n" for sample in samples]
        write_atomically(path, "".join(lines))
        scheduled = [sample.scheduled_requests for sample in samples if sample.scheduled_requests]
        used = [share for sample in samples if (share := sample.kv_cache_used_share) is not None]
        return EngineFacts(
            scheduled_requests_mean=sum(scheduled) / len(scheduled) if scheduled else None,
            kv_cache_used_share_max=max(used, default=None),
            options_in_effect=options,
            other={**facts, "iterations": len(samples), "iterations_file": path.name},
        )


class _Listener(WorkerListener):
    who = "TensorRT-LLM"
    patience_s = PATIENCE_S
    _present: frozenset[int] = frozenset()
    _news: tuple[int, ...] | None = None
    _news_s = 0.0

    def __init__(self, job: Job, observer: Observer, *, startup_timeout_s: float) -> None:
        super().__init__(
            job.scenario.name,
            observer,
            log=job.artifacts / LOG,
            startup_timeout_s=startup_timeout_s,
            run_timeout_s=job.run_timeout_s,
            next_steps=next_steps(Trtllm.of(job.scenario)),
        )
        self.job = job

    def logged(self, line: Line, report: WorkerReport) -> None:
        """Report the log while the weights load, because there are no events then.

        Raises:
            EngineError: a container lacks our worker; a launcher may wait for ever after that.
        """
        if _NO_WORKER in line.text:
            raise self.failure(
                "the container has no pytest-dsr1, whose worker runs there; install it in the image: "
                f"pip install --no-deps pytest-dsr1=={installed_version('pytest-dsr1')}"
            )
        if report.phase == "loading" and _LOADING.search(line.text):
            self.observer.phase("loading", plain_line(line.text).text.strip()[:100])

    def check(self, child: Child, report: WorkerReport) -> None:
        """Check TensorRT-LLM's processes: it may wait forever for one that has ended.

        Raises:
            EngineError: a process has ended, and there was no event for ``patience_s``.
        """
        if report.phase not in {"warm-up", "measuring", "finishing"}:
            return
        news, now = (len(report.records), len(report.tokens_at), len(report.iterations)), time.monotonic()
        if not self._present:
            self._present = _alive(child)
        if news != self._news:
            self._news, self._news_s = news, now
        elif now - self._news_s >= self.patience_s and (gone := self._present - _alive(child)):
            missing = f"{len(gone)} of its processes ({', '.join(map(str, sorted(gone)))})"
            done = f"{len(report.records)} of {self.job.workload.requests} requests done"
            raise self.failure(
                self.symptom()
                or f"TensorRT-LLM lost {missing} and was silent for {self.patience_s:g} s, with {done}; the "
                "log does not say why: look at dmesg"
            )


def _alive(child: Child) -> frozenset[int]:
    """Return the running processes of a child, without zombies."""
    import psutil

    alive = set()
    for pid in child.descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.add(pid)
    return frozenset(alive)
