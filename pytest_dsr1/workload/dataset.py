"""The reader of datasets in trtllm-bench's format: one JSON object per line, one line per request.

The rules are those of trtllm-bench's reader (``tensorrt_llm/bench/utils/data.py``), which takes ``task_id``
and ``output_tokens`` from every line, and prefers ``input_ids`` or its alias ``logits`` to ``prompt``. Where
trtllm-bench ends in a traceback or silently runs fewer requests, this module names the line. Both allow other
keys, and the same ``task_id`` on several lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Dataset, Length, Normal
from pytest_dsr1.storage.files import open_regular
from pytest_dsr1.text import json_value
from pytest_dsr1.workload.json_lines import half_surrogate, json_object
from pytest_dsr1.workload.other_formats import other_format
from pytest_dsr1.workload.workload import LONGEST_SEQUENCE, Request, Workload

FAR_SHARE = 0.10
"""The relative distance of a mean length from the scenario's above which there is a warning."""

_SHOWN_PROBLEMS = 20
_LONGEST_LINE = 1 << 24
"""Bytes; a request of DeepSeek-R1's longest sequence, 163,840 tokens, takes about 1.3 MB."""

_FORMAT = (
    'Each line is one JSON object such as {"task_id":0,"input_ids":[5,77],"output_tokens":2048}; '
    "see `pytest-dsr1 docs datasets`."
)


def inspect_dataset(path: Path, requests: int, *, vocab_size: int | None = None) -> Workload:
    """Check the first ``requests`` lines, the same that trtllm-bench reads, in bounded memory.

    Args:
        path: the JSONL file.
        requests: the number of lines that the run needs, at least 1.
        vocab_size: token ids must be below this; None skips this check.

    Raises:
        InvalidRunError: lines cannot be used (the message names the first 20), or there are too few lines.
    """
    digest = hashlib.sha256()
    problems = _Problems(path)
    inputs = outputs = longest_input = longest_output = 0
    all_ids = True
    number = 0
    for number, line in _lines(path, requests):
        digest.update(line)
        request = _request(line)
        found = request if isinstance(request, list) else _outside(request, vocab_size)
        problems.add(number, found)
        if isinstance(request, Request):
            outputs += request.output_tokens
            longest_output = max(longest_output, request.output_tokens)
            length = len(request.input_ids or ())
            inputs += length
            longest_input = max(longest_input, length)
            all_ids = all_ids and request.input_ids is not None
    if number < requests:
        problems.add(None, [_too_few(number, requests)])
    problems.raise_if_any()
    return Workload(
        path=path,
        requests=requests,
        sha256=digest.hexdigest(),
        synthetic=False,
        mean_input=inputs / requests if all_ids else None,
        max_input=longest_input if all_ids else None,
        mean_output=outputs / requests,
        max_output=longest_output,
    )


def iter_requests(
    path: Path, requests: int, chosen: Callable[[int], bool] = lambda _: True
) -> Iterator[Request]:
    """Yield requests of the first ``requests`` lines, one at a time.

    Args:
        path: the JSONL file.
        requests: the number of lines.
        chosen: whether a line, counted from 0, is used; the others are not parsed.

    Raises:
        InvalidRunError: a line cannot be used, or there are too few lines.
    """
    number = 0
    for number, line in _lines(path, requests):
        if not chosen(number - 1):
            continue
        request = _request(line)
        if isinstance(request, list):
            raise _Problems(path).add(number, request).error()
        yield request
    if number < requests:
        raise _Problems(path).add(None, [_too_few(number, requests)]).error()


def mean_tokens(length: Length) -> float:
    """Return the expected number of tokens of one request."""
    if isinstance(length, int):
        return float(length)
    return float(length.mean) if isinstance(length, Normal) else (length.minimum + length.maximum) / 2


def length_warnings(workload: Workload, dataset: Dataset) -> tuple[str, ...]:
    """Return a sentence for each mean length that differs by more than 10% from the scenario's."""
    warnings = []
    for key, length, mean in (
        ("input_tokens", dataset.input_tokens, workload.mean_input),
        ("output_tokens", dataset.output_tokens, workload.mean_output),
    ):
        expected = mean_tokens(length)
        if mean is not None and abs(mean - expected) > FAR_SHARE * expected:
            warnings.append(
                f"{workload.path}: the mean of {key} is {mean:.1f}, the scenario expects {expected:g}; the "
                "targets were measured with other lengths: use another file, or change "
                f"dataset.{key} and the targets"
            )
    return tuple(warnings)


def _lines(path: Path, requests: int) -> Iterator[tuple[int, bytes]]:
    """Yield line numbers from 1 and lines with their line ends; of an endless line only the beginning."""
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise InvalidRunError(f"{path} is {kind}; expected a JSONL file in dataset.path")
        with open_regular(path) as file:
            for number in range(1, requests + 1):
                line = file.readline(_LONGEST_LINE)
                if not line:
                    return
                yield number, line
                if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                    _skip_line(file)
    except FileNotFoundError:
        raise InvalidRunError(
            f"{path}: there is no such dataset file; correct dataset.path, or make the file as described by "
            "`pytest-dsr1 docs datasets`"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRunError(f"{path}: the dataset cannot be read: {reason}") from None


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
        pass


def _request(line: bytes) -> Request | list[str]:
    """Return the request of one line, or every problem with it."""
    body = line.rstrip(b"\r\n")
    if len(line) == _LONGEST_LINE:
        return [f"the line is longer than {_LONGEST_LINE >> 20} MiB; is this a JSONL file?"]
    if not body.strip():
        return ["the line is blank, which stops trtllm-bench < 1.3; delete it"]
    if b"\r" in body and b"\0" not in body:
        return ["the line contains a carriage return, which starts a new line in trtllm-bench; use \\n only"]
    data = json_object(body)
    return [data] if isinstance(data, str) else _checked(data)


def _checked(data: dict[str, object]) -> Request | list[str]:
    if "samples" in data and "metadata" in data:
        return [
            "this is a file from prepare_dataset.py --output, not JSONL; run that program with --stdout and "
            "redirect the output"
        ]
    problems: list[str] = []
    task = data.get("task_id")
    if type(task) is not int:
        problems.append(f"task_id must be a whole number, {_found(task)}")
    output = data.get("output_tokens")
    if type(output) is not int:
        problems.append(f"output_tokens must be a whole number, {_found(output)}")
    elif not 1 <= output <= LONGEST_SEQUENCE:
        problems.append(f"output_tokens must be from 1 to {LONGEST_SEQUENCE:,}, found {json_value(output)}")

    inputs = [key for key in ("input_ids", "logits", "prompt") if data.get(key) is not None]
    if not inputs:
        problems.append("input_ids and prompt are both missing; expected one of them")
    elif len(inputs) > 1:
        problems.append(f"both {inputs[0]} and {inputs[1]} are present; engines use different ones: keep one")
    for key in inputs:
        problems.extend(_prompt(data[key]) if key == "prompt" else _ids(key, data[key]))
    if problems:
        return problems
    value = data[inputs[0]]
    return Request(
        input_ids=value if isinstance(value, list) else None,
        prompt=value if isinstance(value, str) else None,
        output_tokens=output,  # type: ignore[arg-type]  # an int, or there would be a problem
    )


def _ids(key: str, ids: object) -> list[str]:
    if not isinstance(ids, list):
        return [f"{key} must be a list of token ids, found {json_value(ids)}"]
    if not ids:
        return [f"{key} is empty; a request has at least one token"]
    if set(map(type, ids)) != {int}:
        index, token = next((index, token) for index, token in enumerate(ids) if type(token) is not int)
        return [f"{key}[{index}] must be a whole number, found {json_value(token)}"]
    if min(ids) < 0:
        return [f"{key} contains the negative token id {json_value(min(ids))}"]
    return []


def _prompt(text: object) -> list[str]:
    if not isinstance(text, str):
        return [f"prompt must be a string, found {json_value(text)}"]
    if not text:
        return ["prompt is empty; a request has at least one token"]
    if (index := half_surrogate(text)) is not None:
        return [f"prompt has half of a surrogate pair at character {index}; tokenizers reject that"]
    return []


def _outside(request: Request, vocab_size: int | None) -> list[str]:
    if vocab_size is None or request.input_ids is None or (largest := max(request.input_ids)) < vocab_size:
        return []
    return [
        f"token id {json_value(largest)} is not below dataset.vocab_size ({vocab_size}); was the file made "
        "with another model's tokenizer?"
    ]


def _found(value: object) -> str:
    return "but it is missing" if value is None else f"found {json_value(value)}"


def _too_few(found: int, requests: int) -> str:
    if not found:
        return f"the file is empty; the scenario needs {requests:,} requests"
    return (
        f"the file has {found:,} lines, but the scenario needs {requests:,} requests (trtllm-bench would "
        f"silently run fewer); make a longer file, or use --dsr1-set load.num_requests={found}"
    )


@dataclass(slots=True)
class _Problems:
    """The number of problems and the first of them, so that a wrong file of any size takes little memory."""

    path: Path
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, line: int | None, found: Iterable[str]) -> _Problems:
        for problem in found:
            self.count += 1
            if self.count <= _SHOWN_PROBLEMS:
                place = f"{self.path}:{line}" if line else f"{self.path}"
                self.shown.append(f"  {place}: {problem}")
        return self

    def raise_if_any(self) -> None:
        if self.count:
            raise self.error()

    def error(self) -> InvalidRunError:
        if kind := other_format(self.path):
            return InvalidRunError(f"{self.path} is not a usable dataset: it {kind}\n{_FORMAT}")
        head = f"{self.path} is not a usable dataset ({self.count:,} problem{'s' if self.count > 1 else ''}):"
        more = [f"  and {self.count - len(self.shown):,} more"] if self.count > len(self.shown) else []
        return InvalidRunError("\n".join([head, *self.shown, *more, _FORMAT]))
