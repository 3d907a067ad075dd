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
WHAT = re.compile(r"\s*what\(\): +(.+)$")
PASSED_ON = re.compile(
    r"CancelledError|BrokenPipeError|Connection(?:Reset|Refused|Aborted)Error|EOFError|SystemExit|KeyboardInterrupt"
    r"|ChildFailedError|CalledProcessError|BrokenExecutor|BrokenProcessPool|RayTaskError|RayActorError|zmq\.error"
    r"|ActorDiedError|DistBackendError|DistNetworkError|TCPStore|[Cc]onnection closed|Exception: Call to \w+"
    r"|failed\. See|[Ss]ee (?:the )?(?:stack trace|root cause|logs?|above|error)"
)
"""What a process says when another one has failed."""
HARMLESS = re.compile(
    r"fall(?:ing|s|en)?[ -]?back|\bretrying\b|will retry|try again in|\bretry \d|attempt \d+ ?(?:of|/)"
    r"|[Ii]gnor(?:ed|ing)\b|\b[Ss]kipp(?:ed|ing)\b|not critical|harmless|continuing without"
    r"|will (?:not )?be (?:used|disabled|ignored|skipped)|is optional|optional dependency"
    r"|[A-Za-z]*Warning: |resource_tracker|destroy_process_group|Unable to register cu\w+ factory"
    r"|computation placer already registered|\berrors?[=: ]+(?:0|none|None|false|False)\b"
    r"|\b(?:no|0|without) errors?\b|unset the MCA|help-\w+\.txt|more processe?s? ha(?:s|ve) sent"
)
"""A line that says itself that it does no harm."""
RECOVERED = re.compile(
    r"fall(?:ing|s|en)?[ -]?back|\bretrying\b|will retry|try again in|continuing without|\b[Ss]kipping\b"
    r"|[Ii]gnoring\b|using .{0,60}instead|using (?:the )?default"
)
"""A line that says that the program goes on without what has just failed."""
