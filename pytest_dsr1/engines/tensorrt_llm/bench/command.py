"""The command of one scenario: arguments, options file, environment, and an equivalent shell script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import in_shell, step_variables, step_words
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.acceptance import forcing_variables
from pytest_dsr1.engines.trtllm_options.defaults import Asked, remarks
from pytest_dsr1.engines.trtllm_options.dialects import (
    Dialect,
    cannot_express,
    inexpressible,
    translate,
    version_of,
)
from pytest_dsr1.engines.trtllm_options.file import OPTIONS_FILE, file_lines, file_option
from pytest_dsr1.engines.trtllm_options.names import Version
from pytest_dsr1.engines.trtllm_options.options import CudaGraphConfig
from pytest_dsr1.errors import UserError
from pytest_dsr1.machine.named_files import absolute_words
from pytest_dsr1.masking import masked_words, shell_value
from pytest_dsr1.text import VARIABLE, expanding_word, shell_comment, shell_word

REPORT = "report.json"
REQUESTS = "requests.json"
ITERATIONS = "iterations.log"


@dataclass(frozen=True, slots=True)
class Invocation:
    """The program call of a run.

    Attributes:
        dialect: the dialect of the options.
        because: the version and how it is known; the first line of the script.
        step: what stands before the command, so that Slurm starts it on several nodes; else nothing.
        command: the program with its prefix.
        arguments: the options, each with its value; file names are relative to the folder of the run.
        options: the content of the options file; empty if there is no file.
        environment: variables in addition to those of this process.
        remarks: sentences about what the scenario leaves open in the installed version.
    """

    dialect: Dialect
    because: str
    step: tuple[str, ...]
    command: tuple[str, ...]
    arguments: tuple[tuple[str, ...], ...]
    options: dict[str, Any]
    environment: dict[str, str]
    remarks: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """The whole command line."""
        return [*self.step, *self.command, *(word for words in self.arguments for word in words)]


def invocation(
    job: Job, dialect: Dialect, because: str, offered: frozenset[str], version: str | None
) -> Invocation:
    """Return the command for ``job``.

    Args:
        job: the job; its scenario may contain ``${VARIABLE}`` only for a script.
        dialect: the dialect of the options file.
        because: the reason for the dialect.
        offered: the options that this version of the command has.
        version: the installed version, if known.

    Raises:
        UserError: the scenario has no checkpoint, or the version does not have some of its options.
    """
    engine, scenario = TrtllmBench.of(job.scenario), job.scenario
    if scenario.model.path is None:
        raise UserError(
            f"{scenario.name}: trtllm-bench needs a checkpoint and cannot make random weights; set model.path"
        )
    options = translate(engine.llm_api, dialect)
    arguments, optional = _arguments(job, version_of(version) if version else dialect.version)
    problems = inexpressible(engine.llm_api, dialect)
    problems += [f"{field} ({option})" for option, field in optional.items() if option not in offered]
    problems += [option for option, *_ in arguments if option not in offered and option not in optional]
    if problems:
        raise cannot_express(scenario.name, dialect, problems)
    if options:
        arguments.append((file_option(dialect, offered), OPTIONS_FILE))
    if not engine.chunks and "--disable_chunked_context" in offered:
        arguments.append(("--disable_chunked_context",))  # versions with this option have it on by default
    if engine.eos_id == -1 and "--eos_id" in offered:
        arguments.append(("--eos_id", "-1"))  # the default until 1.2, automatic since then
    if "--report_json" in offered:
        arguments.append(("--report_json", REPORT))
    if engine.records_requests(lambda: job.workload.total_output) and "--request_json" in offered:
        arguments.append(("--request_json", REQUESTS))
    # --iteration_log switches these statistics on, which costs time.
    if engine.llm_api.enable_iter_perf_stats and "--iteration_log" in offered:
        arguments.append(("--iteration_log", ITERATIONS))
    environment = {
        "PYTHONUNBUFFERED": "1",
        **step_variables(job),
        **engine.environment,
        **forcing_variables(scenario, version, dialect),
    }
    group = ("--model", scenario.model.name), ("--model_path", _path(job, scenario.model.path))
    return Invocation(
        dialect=dialect,
        because=because,
        step=step_words(job, environment),
        command=_command(job, engine),
        arguments=(*group, ("throughput",), *arguments),
        options=options,
        environment=environment,
        remarks=tuple(remarks(_asked(engine), version)),
    )


def _asked(engine: TrtllmBench) -> Asked:
    """Return what the scenario asks; without a cuda_graph_config trtllm-bench pads (#7031)."""
    graphs = engine.llm_api.cuda_graph_config or CudaGraphConfig(enable_padding=True)
    options = engine.llm_api.model_copy(update={"cuda_graph_config": graphs})
    return Asked(options, engine.environment, engine.max_batch_size)


def _arguments(job: Job, version: Version) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """Return the arguments of ``throughput`` for the scenario, and the fields of optional ones by option."""
    engine, load = TrtllmBench.of(job.scenario), job.scenario.load
    always: list[tuple[str, ...]] = [
        ("--dataset", _path(job, str(job.workload.path))),
        ("--tp", str(engine.tp)),
        ("--num_requests", str(job.workload.requests)),
        *([("--concurrency", str(load.concurrency))] if load.limited else []),
        ("--warmup", str(load.warmup_requests)),
    ]
    if version < (1, 0):
        always.insert(0, ("--backend", "pytorch"))  # the default was the C++ engine
    valued = {
        "--pp": ("engine.pp", engine.pp if engine.pp > 1 else None),
        "--ep": ("engine.ep", engine.ep),
        "--max_batch_size": ("engine.max_batch_size", engine.max_batch_size),
        "--max_num_tokens": ("engine.max_num_tokens", engine.max_num_tokens),
        "--max_seq_len": ("engine.max_seq_len", engine.max_seq_len),
        "--kv_cache_free_gpu_mem_fraction": (
            "engine.kv_cache_free_gpu_mem_fraction",
            engine.kv_cache_free_gpu_mem_fraction,
        ),
        "--scheduler_policy": ("engine.scheduler_policy", engine.scheduler_policy),
        "--eos_id": ("engine.eos_id", engine.eos_id if engine.eos_id >= 0 else None),
    }
    switches = {
        "--streaming": ("engine.streaming", engine.streaming),
        "--enable_chunked_context": ("engine.enable_chunked_context", engine.chunks),
    }
    words = [(option, str(value)) for option, (_, value) in valued.items() if value is not None]
    flags = [(option,) for option, (_, on) in switches.items() if on]
    fields = {option: field for option, (field, _) in (valued | switches).items()}
    asked = {option: fields[option] for option, *_ in (*words, *flags)}
    if engine.request_records:
        asked["--request_json"] = "engine.request_records"
    return [*always, *words, *flags], asked


def _path(job: Job, path: str) -> str:
    """Return an absolute path, because the command has its own folder; a script to read keeps the path."""
    return path if VARIABLE.search(path) or job.artifacts == Path() else str(Path(path).absolute())


def _command(job: Job, engine: TrtllmBench) -> tuple[str, ...]:
    first, *rest = engine.command
    words = rest if job.artifacts == Path() else absolute_words(rest, Path.cwd())
    return (_path(job, first) if "/" in first else first, *words)


def script(job: Job, call: Invocation) -> str:
    """Return the shell script that runs the command; its first line has the dialect and the reason."""
    lines = [call.because, "set -eu", *(shell_comment(f"warning: {remark}") for remark in call.remarks)]
    if job.artifacts != Path():
        lines.append(f"cd {shell_word(str(job.artifacts.absolute()))}")
    lines += [f"export {name}={shell_value(name, value)}" for name, value in call.environment.items()]
    lines += file_lines(call.options)
    words = (map(expanding_word, row) for row in (masked_words(call.command), *call.arguments))
    rows = [*([in_shell(call.step)] if call.step else []), *words]
    lines.append(" \\\n  ".join(map(" ".join, rows)))
    return "\n".join(lines) + "\n"
