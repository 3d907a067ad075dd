"""The reason why TensorRT-LLM failed, in one sentence: the shared reader's, with this engine's options."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dsr1.engines.tensorrt_llm.settings import TensorRtLlm, TrtllmBench
from pytest_dsr1.engines.trtllm_options.answers import DEFAULT_MEMORY_FRACTION
from pytest_dsr1.engines.trtllm_options.dialects import Dialect
from pytest_dsr1.engines.trtllm_options.file import rejection
from pytest_dsr1.process.log import memory, software, why
from pytest_dsr1.process.log.reader import LogReader


@dataclass(frozen=True, slots=True)
class FailureContext:
    """The facts about a failed run.

    Attributes:
        returncode: the exit status; a negative number is the signal.
        log: the reader of its log.
        engine: the scenario's engine settings.
        dialect: the dialect of the options file.
    """

    returncode: int
    log: LogReader
    engine: TrtllmBench
    dialect: Dialect


def next_steps(engine: TensorRtLlm) -> why.NextSteps:
    """Return the next steps that only this engine knows, by the name of the family."""
    fraction = engine.kv_cache_free_gpu_mem_fraction or DEFAULT_MEMORY_FRACTION
    key = f"engine.kv_cache_free_gpu_mem_fraction (now {fraction:g})"
    return {
        memory.GPU_MEMORY: f"lower {key}, max_batch_size or max_num_tokens",
        memory.KV_CACHE: f"raise {key}, shorten the longest sequence (engine.max_seq_len), or use more GPUs",
    }


def symptom(failure: FailureContext) -> str | None:
    """Return the cause that the log shows, for any exit status; None if it shows none."""
    cause = failure.log.cause
    if cause is None:
        return None
    return rejection(cause, failure.dialect) or why.described(failure.log, next_steps(failure.engine))


def explain(failure: FailureContext) -> str:
    """Return why there is no complete measurement, in one sentence without the program's name."""
    code, log, engine = failure.returncode, failure.log, failure.engine
    cause, steps = log.cause, next_steps(engine)
    if cause is not None:
        if rejected := rejection(cause, failure.dialect):
            return rejected
        if cause.name == software.INTERRUPTED:
            return f"was interrupted (SIGINT) and ended with exit status {code} without a report"
    if reason := why.explained(log, code, steps, engine.command[0]):
        return reason
    less, complaint = steps[memory.GPU_MEMORY], log.found.complaint or log.found.suspect
    if code == 0 and complaint:
        return f"ended with exit status 0 but wrote no report; its log has an error: {why.short(complaint)}"
    if code == 0:
        return f"ended with exit status 0 but wrote no report, which can mean that memory ran out: {less}"
    if log.found.warned:
        return f"died with exit status {code}, and no line of its log says why: look at its last lines"
    return (
        f"died with exit status {code} and logged no reason, which usually means that a worker ran out of "
        f"memory: {less}"
    )
