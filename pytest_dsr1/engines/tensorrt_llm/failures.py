"""The reason why trtllm-bench failed, in one sentence, and the lines of its log that show it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_dsr1.engines.tensorrt_llm.dialects import Dialect, next_to_try
from pytest_dsr1.engines.tensorrt_llm.settings import DEFAULT_MEMORY_FRACTION, TensorRtLlm, TrtllmBench
from pytest_dsr1.process.child import signal_name

SHOWN_LINES = 8
"""Lines of the log that a message repeats."""

_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|Cannot allocate memory")
_INTERRUPTED = re.compile(r"Keyboard interrupt, exiting benchmark|^KeyboardInterrupt")
_WORKER = re.compile(
    r"Executor worker returned error|mpirun noticed that process|MPI_ABORT|exited on signal"
    r"|[Ww]orker.*\b(died|terminated|was killed)\b"
)
_EXTRA_KEY = re.compile(r"^([\w.]+)\n\s+Extra inputs are not permitted", re.MULTILINE)
_UNEXPECTED_KEY = re.compile(r"unexpected keyword argument '(\w+)'")
_EXCEPTION = re.compile(r"^([\w.]*(Error|Exception|Exit|Interrupt)\b.*)$")
_SIGNALLED = {128 + number for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGTERM)}
"""Exit statuses of a shell or launcher whose command was ended by a signal."""
_USAGE = re.compile(r"^Error: (.*)$")
_RELEVANT = re.compile(
    r"[Ee]rror|ERROR|[Ee]xception|out of memory|[Kk]illed|[Ss]ignal|[Aa]bort|interrupt"
    r"|not permitted"
)

_FRAME = re.compile(r"\s+(File \"|raise |return |await |\^)")
"""The frames of a traceback, which messages leave out; the log has them."""


@dataclass(frozen=True, slots=True)
class FailureContext:
    """The facts about a failed run.

    Attributes:
        returncode: the exit status; a negative number is the signal.
        lines: the last lines of the log.
        engine: the scenario's engine settings.
        dialect: the dialect of the options file.
    """

    returncode: int
    lines: Sequence[str]
    engine: TrtllmBench
    dialect: Dialect


def relevant(lines: Iterable[str]) -> list[str]:
    """Return the last lines about a failure, at most eight; without such lines, the last lines of all."""
    rows = [line.rstrip() for line in lines if line.strip()]
    about_failure = [row for row in rows if _RELEVANT.search(row) and not _FRAME.match(row)]
    return [row[:300] for row in (about_failure or rows)[-SHOWN_LINES:]]


def symptom(failure: FailureContext) -> str | None:
    """Return the cause that the log shows, for any exit status; None if it shows none."""
    text = "\n".join(failure.lines)
    if key := _rejected_key(text):
        return _rejection(key, failure.dialect)
    return lost(failure.lines, failure.engine)


def lost(lines: Sequence[str], engine: TensorRtLlm) -> str | None:
    """Return the message if TensorRT-LLM's log shows that memory ran out or a worker died, else None."""
    text = "\n".join(lines)
    if _MEMORY.search(text):
        return f"ran out of GPU memory: {_less_memory(engine)}"
    if _WORKER.search(text):
        return (
            "lost a worker process; the kernel's out-of-memory killer does that when the host's memory runs "
            "short: look at dmesg"
        )
    return None


def explain(failure: FailureContext) -> str:
    """Return why there is no complete measurement, in one sentence without the program's name."""
    code, program = failure.returncode, failure.engine.command[0]
    if cause := symptom(failure):
        return cause
    if code == 2 and (usage := _last(_USAGE, failure.lines)):
        return f"refuses its command line: {usage}"
    if code == 127:
        return f"could not be started: `{program}` was not found"
    if code == 126:
        return f"could not be started: `{program}` is not executable"
    if any(_INTERRUPTED.search(line) for line in failure.lines):
        return f"was interrupted (SIGINT) and ended with exit status {code} without a report"
    if code < 0 or code in _SIGNALLED:
        return _killed(-code if code < 0 else code - 128)
    if code == 0:
        return (
            "ended with exit status 0 but wrote no report, which can mean that memory ran out: "
            f"{_less_memory(failure.engine)}"
        )
    if exception := _last(_EXCEPTION, failure.lines):
        return f"failed with exit status {code}: {exception}"
    return (
        f"died with exit status {code} and logged no reason, which usually means that a worker ran out of "
        f"memory: {_less_memory(failure.engine)}"
    )


def _killed(number: int) -> str:
    name = signal_name(number)
    hint = "; the kernel's out-of-memory killer does that: look at dmesg" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _less_memory(engine: TensorRtLlm) -> str:
    fraction = engine.kv_cache_free_gpu_mem_fraction or DEFAULT_MEMORY_FRACTION
    return f"lower engine.kv_cache_free_gpu_mem_fraction (now {fraction:g}), max_batch_size or max_num_tokens"


def _rejected_key(text: str) -> str | None:
    found = _EXTRA_KEY.findall(text) or _UNEXPECTED_KEY.findall(text)
    return found[0] if found else None


def _rejection(key: str, dialect: Dialect) -> str:
    other = next_to_try(key.rpartition(".")[2], dialect)
    hint = f'; try engine.dialect: "{other}"' if other else ""
    return (
        f"rejects the option `{key}` of extra_llm_api_options.yaml, written in dialect {dialect} "
        f"({dialect.evidence}){hint}"
    )


def _last(pattern: re.Pattern[str], lines: Sequence[str]) -> str | None:
    return next((match[1].strip()[:300] for line in reversed(lines) if (match := pattern.match(line))), None)
