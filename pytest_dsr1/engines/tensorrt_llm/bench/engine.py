"""The engine `trtllm-bench`: NVIDIA's command as a child process, run as in the published procedure.

One run leaves these files in the job's folder: ``command.sh`` (does the same by hand), the options file,
``environment.txt``, ``help.txt`` (the options of this version), ``trtllm-bench.log`` (all output),
``report.json`` and ``requests.json``. A measurement counts only if the command ended with status 0, its
report can be read, and the report agrees with the job. Everything else is an EngineError.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.in_effect import saved
from pytest_dsr1.engines.log_options import start_of
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.engines.slurm_step import asking_words, in_container, step_environment
from pytest_dsr1.engines.tensorrt_llm.bench import command
from pytest_dsr1.engines.tensorrt_llm.bench.command import Invocation, invocation
from pytest_dsr1.engines.tensorrt_llm.bench.in_effect import options_in_effect
from pytest_dsr1.engines.tensorrt_llm.bench.log import BenchLog, series
from pytest_dsr1.engines.tensorrt_llm.bench.report import (
    IncompleteReportError,
    Report,
    differences,
    read_report,
    read_requests,
)
from pytest_dsr1.engines.tensorrt_llm.bench.report_text import parse_text
from pytest_dsr1.engines.tensorrt_llm.failures import FailureContext, explain, symptom
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.dialects import (
    Dialect,
    choose_dialect,
    command_line_options,
    newer_than_known,
)
from pytest_dsr1.engines.trtllm_options.file import OPTIONS_FILE, file_text
from pytest_dsr1.engines.trtllm_options.in_log import version_in_log
from pytest_dsr1.engines.trtllm_options.installed import installed_version, offered_options
from pytest_dsr1.errors import EngineError
from pytest_dsr1.masking import NOT_SHOWN, is_secret, masked_words
from pytest_dsr1.process.child import Child, Line, environment
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.waiting import Waiting
from pytest_dsr1.records import Observer, RequestRecord
from pytest_dsr1.storage.files import write_atomically

PROGRAM = "trtllm-bench"
LOG = "trtllm-bench.log"
HELP = "help.txt"
CLOCK_TOLERANCE_S = 30.0
"""The largest difference between the log and the request records if both have the same clock."""
LAST_BYTES = 4_000_000
"""The number of bytes at the log's end that may contain a report."""

_SHOWN_VARIABLES = re.compile(r"^(CUDA|NCCL|TRTLLM|TLLM)_")


class TrtllmBenchEngine:
    """The engine that runs one job with ``trtllm-bench throughput``.

    The command gives no report if it is stopped early, so ``Job.enough`` is not called.
    """

    def script(self, job: Job) -> str:
        """Return the shell script that does the same by hand; its first line has the dialect and the reason.

        Raises:
            UserError: the version does not have some of the scenario's options.
        """
        version = _version(job)
        dialect, because = choose_dialect(TrtllmBench.of(job.scenario).dialect, version)
        call = invocation(job, dialect, because, command_line_options(dialect), version)
        return command.script(job, call)

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            UserError: the version does not have some of the scenario's options.
            EngineError: the measurement failed; the message has one sentence and the log's last relevant
                lines. Nothing is left running.
        """
        engine = TrtllmBench.of(job.scenario)
        _check_paths(job, engine)
        version = _version(job)
        dialect, because = choose_dialect(engine.dialect, version)
        observer.phase("starting", "asking trtllm-bench for its options")
        help_text = _help_text(job, engine, dialect, observer)
        if in_container(job):
            version = version_in_log(help_text)
            dialect, because = choose_dialect(engine.dialect, version)
        # This text does not have the options of the command's group.
        offered = offered_options(help_text) | {"--model", "--model_path"}
        call = invocation(job, dialect, because, offered, version)
        _write_artifacts(job, call)
        run = _Run(job, call, observer, BenchLog(observer, job.workload.mean_output))
        observer.phase("starting", "trtllm-bench")
        returncode = run.watch()
        return run.result(returncode, version)


def _search_path(engine: TrtllmBench) -> str:
    return environment(engine.environment).get("PATH", os.defpath)


def _version(job: Job) -> str | None:
    """Return the version that is installed here; None if there is none, or the engine runs elsewhere."""
    engine = TrtllmBench.of(job.scenario)
    return None if in_container(job) else installed_version(engine.command, _search_path(engine), PROGRAM)


def _check_paths(job: Job, engine: TrtllmBench) -> None:
    program, name = engine.command[0], job.scenario.model.name
    if not in_container(job) and shutil.which(program, path=_search_path(engine)) is None:
        raise EngineError(
            f"{job.scenario.name}: `{program}` was not found; trtllm-bench comes with TensorRT-LLM: run "
            "pytest in NVIDIA's container (tensorrt-llm/release) or where TensorRT-LLM is installed, or set "
            "engine.command to its path"
        )
    if (job.artifacts / name).exists():
        raise EngineError(
            f"{job.scenario.name}: model.name `{name}` is a file or folder; trtllm-bench expects a "
            "Hugging Face name here, and the checkpoint's folder in model.path"
        )


def _help_text(job: Job, engine: TrtllmBench, dialect: Dialect, observer: Observer) -> str:
    """Return what this trtllm-bench says about its options.

    It imports TensorRT-LLM first, which can take a minute, and says its version.
    """
    argv = [*asking_words(job, engine.environment), *engine.command, "--model", "x", "throughput", "--help"]
    env = step_environment(job, engine.environment)
    text = job.artifacts / HELP
    lines: list[str] = []
    log = LogReader()
    waiting = Waiting(log, engine.startup_timeout_s)
    with Child(argv, env=env, cwd=job.artifacts, log=text) as child:
        while not waiting.over:
            more = child.read(waiting.poll_s)
            for line in more:
                lines.append(line.text)
                _heard(line, log, waiting, observer)
            if not more and child.returncode is not None:
                break
        returncode = child.returncode
    if returncode is None:
        raise _failure(
            job,
            f"did not print its help within {engine.startup_timeout_s:g} s and was stopped "
            "(engine.startup_timeout_s)",
            log,
            text,
        )
    if returncode != 0:
        sentence = explain(FailureContext(returncode, log, engine, dialect))
        raise _failure(job, f"did not list its options: it {sentence}", log, text)
    help_text = "\n".join(lines)
    if "--dataset" not in offered_options(help_text):
        raise _failure(
            job,
            "printed help text that does not list --dataset; check that engine.command is trtllm-bench",
            log,
            text,
        )
    return help_text


def _write_artifacts(job: Job, call: Invocation) -> None:
    if call.options:
        write_atomically(job.artifacts / OPTIONS_FILE, file_text(call.options), private=True)
    write_atomically(job.artifacts / TrtllmBench.whole_script, command.script(job, call), private=True)
    shown = {name: value for name, value in os.environ.items() if _SHOWN_VARIABLES.match(name)}
    rows = {**shown, **call.environment}
    hidden = {name: NOT_SHOWN for name, value in rows.items() if is_secret(name, value)}
    text = "".join(f"{name}={value}\n" for name, value in sorted({**rows, **hidden}.items()))
    write_atomically(job.artifacts / "environment.txt", text, private=True)


def _heard(line: Line, log: LogReader, waiting: Waiting, observer: Observer) -> None:
    """Take a line of the log, and say it if the command waits in Slurm's queue."""
    log.take(line.text)
    if queued := waiting.heard(line.text):
        observer.phase("starting", queued)


def _failure(job: Job, sentence: str, log: LogReader, path: Path) -> EngineError:
    return EngineError(f"{job.scenario.name}: trtllm-bench {sentence}{log.quoted(path)}")


@dataclass
class _Run:
    """One run of the command and its result."""

    job: Job
    call: Invocation
    observer: Observer
    log: BenchLog
    unsearched: str | None = None
    """What of the log was not searched, in words."""

    @property
    def engine(self) -> TrtllmBench:
        return TrtllmBench.of(self.job.scenario)

    @property
    def folder(self) -> Path:
        return self.job.artifacts

    def watch(self) -> int:
        """Read the log until the command has ended, and return its exit status.

        Raises:
            EngineError: a limit was exceeded; the command is stopped.
        """
        log, stage = self.log, ""
        waiting = Waiting(log.reader, self.engine.startup_timeout_s)
        env = step_environment(self.job, self.call.environment)
        with Child(self.call.argv, env=env, cwd=self.folder, log=self.folder / LOG) as child:
            while True:
                lines = child.read(waiting.poll_s)
                self.unsearched = child.unsearched
                for line in lines:
                    log.take(line)
                    if queued := waiting.heard(line.text):
                        self.observer.phase("starting", queued)
                if log.phase in {"measuring", "finishing"} and log.phase != stage:
                    stage = log.phase
                    waiting.restart(self.job.run_timeout_s)
                elif not lines and child.returncode is not None:
                    log.measuring_to_s = log.measuring_to_s or time.monotonic()
                    return child.returncode
                elif waiting.hopeless:
                    raise self._fail(f"{symptom(self._context(0))}; {waiting.given_up}")
                elif waiting.over:
                    raise self._fail(self._too_slow(stage, waiting.limit_s))

    def _too_slow(self, stage: str, limit_s: float) -> str:
        stopped = f"within {limit_s:g} s and was stopped"
        if cause := symptom(self._context(0)):
            return f"{cause}; it did not end {stopped}"
        if not stage:
            return (
                f"did not start to measure {stopped}; if it was only slow (loading the weights can take 25 "
                "minutes), raise engine.startup_timeout_s"
            )
        done = self.log.requests[-1][1] if self.log.requests else 0
        what = (
            f"did not finish {stopped}, with {done} of {self.job.workload.requests} requests done"
            if stage == "measuring"
            else f"finished measuring, but did not exit {stopped}"
        )
        return f"{what}; if it was only slow, raise engine.run_timeout_s"

    def _context(self, returncode: int) -> FailureContext:
        return FailureContext(returncode, self.log.reader, self.engine, self.call.dialect)

    def _fail(self, sentence: str) -> EngineError:
        unsearched = f"; {self.unsearched}" if self.unsearched else ""
        return _failure(self.job, f"{sentence}{unsearched}", self.log.reader, self.folder / LOG)

    def result(self, returncode: int, version: str | None) -> EngineResult:
        """Return the result of the measurement.

        Raises:
            EngineError: the measurement is not complete, or does not agree with the job.
        """
        if returncode != 0:
            raise self._fail(explain(self._context(returncode)))
        report, form = self._report()
        if problems := list(differences(report, self.job)):
            raise self._fail(f"measured something other than the scenario: {'; '.join(problems)}")
        records, warnings = self._records()
        for record in records:
            self.observer.record(record)
        self.observer.progress(self.job.workload.requests, self.job.workload.total_output)
        # Request records then have the times that the report lacks.
        timed = any(one.first_token_s is not None and one.output_tokens > 1 for one in records)
        if records:
            from_s, to_s = min(record.submitted_s for record in records), records[-1].last_token_s
        else:
            to_s = self.log.measuring_to_s or time.monotonic()
            from_s = to_s - report.metrics["total_latency"] / 1e3
        return EngineResult(
            records=records,
            report=report.metrics,
            measured_from_s=from_s,
            measured_to_s=to_s,
            gpus=self.engine.gpus,
            versions={"tensorrt_llm": version} if version else {},
            facts=EngineFacts.of(
                {
                    **report.facts,
                    "not_measured": {} if timed else dict(report.not_measured),
                    "options_in_effect": saved(
                        options_in_effect(
                            report, start_of(self.folder / LOG), self.engine, self.call.options, version
                        )
                    ),
                    "report": form,
                    "dialect": f"{self.call.dialect} ({self.call.dialect.evidence})",
                    "command": " ".join(masked_words(self.call.argv)),
                }
            ),
            warnings=(*warnings, *self._warnings(version)),
            series=self._series(from_s, to_s),
        )

    def _report(self) -> tuple[Report, str]:
        """Return the report and its form: from the JSON file if it is complete, else from the log's text."""
        path, log = self.folder / command.REPORT, self.folder / LOG
        asked, text = "--report_json" in self.call.argv, _end_of(log)
        if not (path.exists() if asked else "PERFORMANCE OVERVIEW" in text):
            raise self._fail(explain(self._context(0)))
        try:
            if asked:
                with contextlib.suppress(IncompleteReportError):  # old versions have other keys
                    return read_report(path), "json"
            return parse_text(text, log), "text"
        except EngineError as error:
            raise self._fail(f"wrote a report that cannot be used: {error}") from error

    def _records(self) -> tuple[tuple[RequestRecord, ...], tuple[str, ...]]:
        """Return the request records on our clock, if there are any, and warnings."""
        if "--request_json" not in self.call.argv:
            return (), ()
        wanted = self.job.workload.requests
        try:
            records = read_requests(self.folder / command.REQUESTS)
        except EngineError as error:
            raise self._fail(f"wrote request records that cannot be used: {error}") from error
        if len(records) != wanted:
            raise self._fail(f"recorded {len(records)} requests, expected {wanted}")
        records = tuple(sorted(records, key=lambda record: record.last_token_s))
        off_s = (self.log.measuring_to_s or time.monotonic()) - records[-1].last_token_s
        if abs(off_s) <= CLOCK_TOLERANCE_S:
            return records, ()
        return tuple(_shifted(record, off_s) for record in records), (
            f"trtllm-bench's clock is {abs(off_s):.0f} s off from pytest's clock (is it on a different node, "
            "or in a different time namespace?); its request times were shifted so that the last request "
            "ends at the time in the log",
        )

    def _warnings(self, version: str | None) -> Iterator[str]:
        if self.unsearched:
            yield self.unsearched
        yield from self.call.remarks
        if version and not self.engine.dialect and (warning := newer_than_known(version)):
            yield warning
        if self.engine.eos_id >= 0:
            yield "answers end at the end token (engine.eos_id), so output lengths were not checked"

    def _series(self, from_s: float, to_s: float) -> tuple[tuple[float, float], ...]:
        """Return output tokens per second over time, from iteration lines or else from the progress bar.

        Not from a bar that came through srun, whose times are those of full buffers.
        """
        log = self.log
        if self.call.step and not log.iterations:
            return ()
        before = [0, *(done for _, done in log.requests)]
        answered = [
            (time_s, done - earlier) for (time_s, done), earlier in zip(log.requests, before, strict=False)
        ]
        return series(log.iterations or answered, from_s, to_s, self.job.workload.total_output)


def _shifted(record: RequestRecord, by_s: float) -> RequestRecord:
    first_s = record.first_token_s
    return replace(
        record,
        submitted_s=record.submitted_s + by_s,
        first_token_s=None if first_s is None else first_s + by_s,
        last_token_s=record.last_token_s + by_s,
    )


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        return file.read().decode("utf-8", "replace")
