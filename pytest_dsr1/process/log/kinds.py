"""The kinds of lines: frames, headings, exceptions, what failed processes pass on, what does no harm."""

from __future__ import annotations

import re

FRAME = re.compile(
    r"File \"|\s+\S|#?\d+ +0x|frame #\d+:|\S*/\S+\.so[\w.]*(?:\(| \[0x)|\d+ +\S+\(\+?0x|\[\s*\d+\] "
)
"""The frames of a traceback of Python or C++, which messages leave out; the log has them."""
HEADER = re.compile(
    r"Traceback \(most recent|During handling of|The above exception|Exception in thread|Process \S+:$"
    r"|Stack trace|\[?rank\d+\]?: *$|=+$|The following|For (?:further|debugging|more)|Compile with|Search for"
)
EXCEPTION = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Timeout)(?:: .*)?$"
)
INSIDE = re.compile(r"\b(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception): .+$")
ASSERTION = re.compile(r"Assertion failed: .|\[TensorRT-LLM\]\[ERROR\] .")
"""The text of an exception of TensorRT-LLM's C++ code."""
COMPLAINT = re.compile(r"(?:PMIX|UCX|ORTE|PRTE|OPAL) +ERROR:?|(?:srun|slurmstepd|sbatch|salloc): error: ")
"""The start of an error that launchers also log in good runs."""
WHAT = re.compile(r"\s*what\(\): +(.+)$")
PASSED_ON = re.compile(
    r"CancelledError|BrokenPipeError|Connection(?:Reset|Refused|Aborted)Error|EOFError|SystemExit|KeyboardInterrupt"
    r"|ChildFailedError|CalledProcessError|BrokenExecutor|BrokenProcessPool|RayTaskError|RayActorError|zmq\.error"
    r"|ActorDiedError|DistBackendError|DistNetworkError|TCPStore|connection closed|Connection closed"
    r"|Exception: Call to \w+"
    r"|failed\. See|[Ss]ee (?:the )?(?:stack trace|root cause|logs?|above|error)"
)
"""What a process says when another one has failed."""
HARMLESS = re.compile(
    r"fall(?:ing|s|en)?[ -]?back|\bretrying\b|will retry|try again in|\bretry \d|attempt \d+ ?(?:of|/)"
    r"|[Ii]gnor(?:ed|ing)\b|\b[Ss]kipp(?:ed|ing)\b|not critical|harmless|continuing without"
    r"|will (?:not )?be (?:used|disabled|ignored|skipped)|\boptional(?:ly)?\b|^\s*#(?!\d)"
    r"|[Gg]enerated text: |\b(?:if|when|in case|avoids?|prevents?) .{0,60}(?:out of memory|OOM)"
    r"|[A-Za-z]*Warning: |resource_tracker|destroy_process_group|Unable to register cu\w+ factory"
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
RECOVERED = re.compile(
    r"fall(?:ing|s|en)?[ -]?back|\bretrying\b|will retry|try again in|continuing without|\b[Ss]kipping\b"
    r"|[Ii]gnoring\b|using .{0,60}instead|using (?:the )?default"
)
"""A line that says that the program goes on without what has just failed."""
