"""The reason why a program failed, in one sentence, from its log and its exit status."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from pytest_dsr1.process.log import launch, memory, software
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.signals import killed_by

_LONGEST = 300
"""The characters of a log's line that a sentence repeats."""
_SIGNALLED = {
    128 + number for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGTERM)
}
"""Exit statuses of a shell or launcher whose command was ended by a signal."""
_SENT = {signal.SIGKILL, signal.SIGTERM}
"""What a launcher sends to end a program."""
_NOT_STARTED = {127: "was not found", 126: "is not executable"}
"""A shell's exit statuses for a command that cannot be started."""
_NAMES_PROGRAM = re.compile(r"not found|No such file|[Pp]ermission denied|cannot execute|is a directory")
_LOADING_STEP = (
    "the model is too large for this number of GPUs, or other processes hold their memory (`nvidia-smi` "
    "lists "
    "them); a smaller KV cache does not help, because it is made later"
)
_LOADING_WHAT = "ran out of GPU memory while loading the weights"

NextSteps = Mapping[str, str]
"""An engine's own next steps, by the name of a family; they replace those of the table."""


def symptom(log: LogReader, steps: NextSteps) -> str | None:
    """Return the cause that the log shows, a phrase after the program's name; None if it shows none."""
    return None if log.cause is None else described(log, steps)


def explained(log: LogReader, code: int, steps: NextSteps, program: str) -> str | None:
    """Return why a program ended, a phrase after its name; None if neither log nor status says it.

    Args:
        log: of the program.
        code: as in `Child.returncode`: a negative number is the signal.
        steps: the engine's own next steps.
        program: the command that was started.
    """
    cause, found = log.cause, log.found
    if cause is not None and not cause.aftermath:
        return described(log, steps, code)
    if code in _NOT_STARTED:
        said = found.complaint or found.suspect or ""
        named = short(said) if _NAMES_PROGRAM.search(said) else f"`{program}` {_NOT_STARTED[code]}"
        return f"could not be started: {named}"
    number = -code if code < 0 else code - 128 if code in _SIGNALLED else 0
    if number and not (found.ended is not None and number in _SENT):
        return f"was killed by {_killer(number, steps)}"
    if cause is not None:
        return described(log, steps, code)
    if code and found.complaint is not None:
        return f"failed with exit status {code}; the first error in its log: {short(found.complaint)}"
    if code and found.suspect is not None:
        return f"failed with exit status {code}; the last complaint in its log: {short(found.suspect)}"
    return None


def described(log: LogReader, steps: NextSteps, code: int | None = None) -> str:
    """Return what a cause means, a phrase after the name of the program, with what to do next.

    Args:
        log: of the program; it shows a cause.
        steps: the engine's own next steps.
        code: the exit status, if it has ended.
    """
    cause = log.cause
    assert cause is not None
    text = short(cause.text)
    if cause.number is not None:
        return f"lost a process, killed by {_killer(cause.number, steps)}"
    if cause.family is None:
        return f"failed with exit status {code}: {text}" if code and code > 0 else f"failed: {text}"
    what, step = cause.family.what, cause.family.step
    if cause.name == memory.GPU_MEMORY_LOADING:
        what, step = _LOADING_WHAT, _LOADING_STEP
    step = steps.get(cause.name, step)
    if cause.name == software.USAGE:
        return f"{what}: {usage(text)}"
    if cause.aftermath and not cause.family.quotes and (told := log.found.error) is not None:
        return f"{what.removesuffix(launch.UNSAID)}; the first error in its log: {short(told.text)}"
    said = [what, *([text] if cause.family.quotes else [])]
    sentence = ": ".join(said) + (f"{'; ' if len(said) > 1 else ': '}{step}" if step else "")
    if (before := log.found.before) is not None and before is not cause:
        return f"{sentence}; before that its log has an error: {short(before.text)}"
    return sentence


def _killer(number: int, steps: NextSteps) -> str:
    more = steps.get(memory.HOST_MEMORY) if number == signal.SIGKILL else None
    return killed_by(number) + (f", and {more}" if more else "")


def short(text: str) -> str:
    """Return the start of a log's line, as the middle of a sentence."""
    return text[:_LONGEST].strip().rstrip(".,;:")


def usage(text: str) -> str:
    """Return a complaint about the command line without the name of the program and ``Error:``."""
    head, found, rest = text.partition("rror: ")
    return rest if found and len(head) < 60 else text
