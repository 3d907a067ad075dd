"""The signals that launchers and shells report for their processes."""

from __future__ import annotations

import re
import signal

from pytest_dsr1.process.child import signal_name

_NUMBER = re.compile(
    r"exited on signal (\d+)"  # Open MPI
    r"|\bSignal: .* \((\d+)\)"  # Open MPI's handler
    r"|[Cc]aught signal (\d+)"  # UCX
    r"|[Ss]ignal (\d+) \(SIG\w+\) received"  # torch's elastic agent
    r"|(?:killed|terminated|died)\b.{0,30}?\bsignal:? (\d+)"
    r"|exit ?(?:code|status)?[:=]? ?-(\d+)\b"  # multiprocessing, torch
)
_STATUS = re.compile(
    r"(?:exit(?:ed)?(?: with)?(?: exit)?[ _-]?(?:code|status)?|status|code):? ?(1[2-5]\d)\b", re.IGNORECASE
)
_NAME = re.compile(r"(?:(?:killed|terminated|died|exited)\b.{0,40}?\b|\*\*\* )(SIG[A-Z]+)\b")
_WORDS = {
    "Killed": signal.SIGKILL,
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": signal.SIGBUS,
    "Aborted": signal.SIGABRT,
    "Illegal instruction": signal.SIGILL,
    "Floating point exception": signal.SIGFPE,
    "Terminated": signal.SIGTERM,
}
_WORD = re.compile(
    r"(?:^|srun: error: .*: tasks? [\d,-]+: |: line \d+: +\d+ |^Fatal Python error: |signal: )"
    rf"({'|'.join(_WORDS)})(?: \(core dumped\))?(?:$| |\n|:)"
)
_NOT_IN_WORDS = re.compile(r"^(?:Killed|Terminated|Aborted) \w")
"""A sentence that begins with such a word, which is not a shell's notice."""

_MEANING = {
    signal.SIGKILL: (
        "; the kernel's out-of-memory killer does that when the host's memory runs short: look at dmesg"
    ),
    signal.SIGBUS: (
        " (bus error), usually because shared memory ran out: make /dev/shm larger; in Docker: "
        "--shm-size=16g "
        "or --ipc=host"
    ),
    signal.SIGSEGV: (
        " (segmentation fault), a bug or software that does not fit together: look for its stack in the log, "
        "and try another version"
    ),
    signal.SIGABRT: " (abort): look for its last words in the log",
    signal.SIGILL: " (illegal instruction): the software was built for another CPU",
}

_GUESSES = re.compile(
    r"\b(?:potential|possible|likely|common|probable) (?:root )?(?:causes?|reasons?)\b.*", re.IGNORECASE
)
"""The start of a list of what may have happened, as Ray writes it after every end of a worker."""
_GUESS = re.compile(
    r"[^.;,]*\b(?:may|might|could|can|would|usually|probably|possibly|perhaps|likely|if|when)\b[^.;,]*",
    re.IGNORECASE,
)


def without_guesses(text: str) -> str:
    """Return a line without its list of what may have happened."""
    return _GUESSES.sub("", text)


def stated_signal(text: str) -> int | None:
    """Return the signal that a line says has ended a process; None if it says none, or guesses."""
    text = _GUESS.sub("", without_guesses(text))
    if found := _NUMBER.search(text):
        return int(next(group for group in found.groups() if group))
    if found := _NAME.search(text):
        return next((known for known in signal.Signals if known.name == found[1]), None)
    if (found := _WORD.search(text)) and not _NOT_IN_WORDS.match(text):
        return _WORDS[found[1]]
    if found := _STATUS.search(text):
        number = int(found[1]) - 128
        return number if number in _MEANING else None
    return None


def killed_by(number: int) -> str:
    """Return the name of a signal with its usual cause, to put after ``killed by``."""
    meaning = next((words for known, words in _MEANING.items() if known == number), "")
    return f"{signal_name(number)}{meaning}"
