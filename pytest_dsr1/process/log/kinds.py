"""The kinds of lines: frames, headings, exceptions, what failed processes pass on, what does no harm."""

from __future__ import annotations

import re

from pytest_dsr1.process.log.cause import Phase

FRAME = re.compile(
    r"File \"|\s+\S|#?\d+ +0x|frame #\d+:|\S*/\S+\.so[\w.]*(?:\(| \[0x)|\d+ +\S+\(\+?0x|\[\s*\d+\] "
)
"""The frames of a traceback of Python or C++, which messages leave out; the log has them."""
HEADER = re.compile(
    r"Traceback \(most recent|During handling of|The above exception|Exception in thread|Process \S+:$"
    r"|Stack trace|\[?rank\d+\]?: *$|=+$|The following|For (?:further|debugging|more)|Compile with|Search for"
)
_ENDINGS = (
    "Error|Exception|Exit|Interrupt|Failure|Timeout|Expired|NotFound|OutOfResources|Unsupported|Unavailable"
    "|Mismatch|Overflow|Refused|Denied|Exceeded|Aborted"
)
"""The ends of the names of exceptions; other names count after a traceback, or in a module of errors."""
EXCEPTION = re.compile(
    rf"(?:(?:[A-Za-z_][\w.]*\.)?_*[A-Z]\w*(?:{_ENDINGS})"
    r"|(?:[a-z_]\w*\.)+(?:exc|errors?|exceptions?|_exceptions)\.[A-Z]\w*)(?:\(\w+\))?(?:: .*)?$"
)
RAISED = re.compile(
    r"(?:(?:[A-Za-z_]\w*\.|<locals>\.)*_*[A-Z]\w*|(?:[A-Za-z_]\w*\.|<locals>\.)+\w+)(?:: .*|:)?$"
)
"""The exception after the frames of a traceback, whatever its name."""
INSIDE = re.compile(rf"\b(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:{_ENDINGS}): .+$")
TRACEBACK = "Traceback (most recent call last):"
BEFORE_CAUSE = re.compile(
    r"^.*?(?:Failed to initialize executor on rank \d+|Error executing \w+(?: with args \([^)]*\))?"
    r"|hit an exception|failed with (?:error|exception)): (?:\[TensorRT-LLM\]\[ERROR\] )?"
    r"|^(?:(?:base)?exception|error): (?=[\w.]*(?:Error|Exception): )"
    r"|^.*?(?:unable to start container process|runc\S* \w+ failed): (?=exec: )",
    re.IGNORECASE,
)
"""What stands before the cause in a line."""
ASSERTION = re.compile(r"Assertion failed: .|\[TensorRT-LLM\]\[ERROR\] .")
"""The text of an exception of TensorRT-LLM's C++ code."""
COMPLAINT = re.compile(r"(?:PMIX|UCX|ORTE|PRTE|OPAL) +ERROR:?|(?:srun|slurmstepd|sbatch|salloc): error: ")
"""The start of an error that launchers also log in good runs."""
WHAT = re.compile(r"\s*what\(\): +(.+)$")
PASSED_ON_CLASS = re.compile(
    r"(?:[\w.]*\.)?(?:CancelledError|BrokenPipeError|Connection(?:Reset|Refused|Aborted)Error|EOFError|SystemExit"
    r"|KeyboardInterrupt|ChildFailedError|BrokenExecutor|BrokenProcessPool|RayTaskError|RayActorError"
    r"|ActorDiedError|DistBackendError|DistNetworkError)\b|(?:[\w.]*\.)?zmq\.error|Exception: Call to \w+"
)
PASSED_ON = re.compile(
    r"TCPStore|(?i:connection closed)|failed\. See|[Ss]ee (?:the )?"
    r"(?:stack trace|root cause|logs?|above|error)"
)
"""What a process says when another one has failed."""
_GOES_ON = (
    r"(?i:(?<!no )(?<!without )\bfall(?:ing|s|en)?[ -]?back|\bretrying\b|will retry|try again in"
    r"|continuing without|\bskipping\b|\bignoring\b"
)
HARMLESS = re.compile(
    rf"{_GOES_ON}|\bretry \d|unable to create tmpdir|setting tmpdir to|attempt \d+ ?(?:of|/)"
    r"|(?<!not )(?<!be )\bignored\b|\bskipped\b|not critical|harmless"
    r"|will (?:not )?be (?:used|disabled|ignored|skipped)|\boptional(?:ly)?\b|thrown while requesting )"
    r"|^\s*#(?!\d)|(?i:for benchmark choice|no valid triton configs|error during autotuning)"
    r"|[Gg]enerated text: |\b(?:if|when|in case|avoids?|prevents?) .{0,60}(?:out of memory|OOM)"
    r"|(?<!srun: )\b[A-Za-z]*Warning: "
    r"|resource_tracker|destroy_process_group|Unable to register cu\w+ factory"
    r"|computation placer already registered|\berrors?[=: ]+(?:0|none|None|false|False)\b"
    r"|\b(?:no|0|without) errors?\b|unset the MCA|help-\w+\.txt|more process(?:es)? ha(?:s|ve) sent"
)
"""A line that says itself that it does no harm."""
FENCE = re.compile(
    r"[-=*#]{2,} ?(?:begin\w* (?:of )?)?(?:the )?(?:generated|model|prompt|answer|completion|response)"
)
"""The line before text that a model has written, which may be about anything."""
FENCE_END = re.compile(r"[-=*#]{2,} ?end\b", re.IGNORECASE)
REFUSED = re.compile(r'HTTP/\d(?:\.\d)?" 4\d\d')
"""A server's line about one request that it refused, and goes on."""
ANSWERED = re.compile(r'HTTP/\d(?:\.\d)?" 2\d\d')
RECOVERED = re.compile(rf"{_GOES_ON}|\busing .{{0,60}}instead|\busing (?:the )?default)")
"""A line that says that the program goes on without what has just failed."""
SUSPECT = re.compile(
    r"\b(?:error|fatal|failed|failure|denied|cannot|can't|could not|couldn't|unable to|not found|no such"
    r"|refused|invalid|unsupported|unsatisfied|unauthorized|forbidden|exceeded|not permitted|panic\w*)\b",
    re.IGNORECASE,
)
"""A line that reads like a complaint, whatever its writer calls it."""
JOINED = re.compile(r"srun: Step created for |NCCL INFO .*(?:Using network|Init COMPLETE)")
"""What shows that a wait or a warning before it did no harm."""
INDENTED = re.compile(
    r"\s+(?:(?:Extra inputs are not permitted|Input should be |Field required|Value error, )"
    r"|(?:PML|ompi|opal|orte|prte|PMI|pmix)\w* .*failed)"
)
"""Indented lines that are no frames: pydantic's word about an option, Open MPI's reason."""
_RUNNING = re.compile(r"Starting benchmark\.\.\.|Application startup complete|fired up and ready")
_PREPARING = re.compile(
    r"load.*\b100%|(?:model|weights?) load(?:ing|ed)?.* (?:took|done)|loading (?:\w+ )?weights took"
    r"|(?:after|finished|completed) loading|loaded (?:the )?(?:model|weights)|load weights? end"
    r"|model init total|kv cache (?:size|pages|is allocated)|memory pool end|\bcapturing|\bcapture cuda"
    r"|cuda graph|\[?autotun|warm(?:ing|-?up)",
    re.IGNORECASE,
)
_LOADING = re.compile(
    r"(?<!before )(?:loading (?:weights|safetensors|checkpoint|model|pt )|load(?:ing)? (?:the )?model\b"
    r"|load weights? begin|prefetching)",
    re.IGNORECASE,
)
LOADING_CODE = re.compile(
    r"load_single_module|load_weights|create_weights|initialize_model\b|in load_model\b"
)
"""The frames of a traceback in which weights are loaded."""


def phase_of(text: str) -> Phase | None:
    """Return the phase that begins with a line of the log; None if it says nothing about one."""
    if _RUNNING.search(text):
        return "running"
    if _PREPARING.search(text):
        return "preparing"
    return "loading" if _LOADING.search(text) else None
