"""Malformed datasets are counted here: each row of MALFORMED is one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Dataset, Length, Normal, Uniform
from pytest_dsr1.workload import dataset as module
from pytest_dsr1.workload.dataset import inspect_dataset, iter_requests, length_warnings, mean_tokens
from pytest_dsr1.workload.workload import Request

GOOD = b'{"task_id":0,"input_ids":[5,77,9],"output_tokens":20}\n'
FORMAT = (
    'Each line is one JSON object such as {"task_id":0,"input_ids":[5,77],"output_tokens":2048}; '
    "see `pytest-dsr1 docs datasets`."
)


def _line(**changes: object) -> bytes:
    """A good line with some keys changed; `...` leaves a key out."""
    line = {"task_id": 0, "input_ids": [5, 77], "output_tokens": 8} | changes
    return json.dumps({key: value for key, value in line.items() if value is not ...}).encode() + b"\n"


MALFORMED = {
    "not JSON": (b'{"task_id":0,\n', "not JSON: Expecting property name enclosed in double quotes at column"),
    "cut off": (GOOD[:-10] + b"\n", "not JSON: Unterminated string starting at at column"),
    "two objects on a line": (
        GOOD.strip() + GOOD,
        "not JSON: Extra data at column 54; expected one whole object",
    ),
    "a list": (b"[1,2]\n", "expected a JSON object, found a list"),
    "a number": (b"17\n", "expected a JSON object, found 17"),
    "null": (b"null\n", "expected a JSON object, found null"),
    "blank line": (b"\n", "the line is blank, which stops trtllm-bench < 1.3; delete it"),
    "white line": (b"  \t\r\n", "the line is blank"),
    "NUL": (b'{"task_id":0,"prompt":"\0"}\n', "the line contains a NUL byte; is this a UTF-8 text file?"),
    "carriage return": (
        b'{"task_id":0,\r"x":1}\n',
        "the line contains a carriage return, which starts a new line in trtllm-bench",
    ),
    "not UTF-8": (b'{"prompt":"\xff"}\n', "not UTF-8: byte 0xff at column 12"),
    "byte order mark": (
        b"\xef\xbb\xbf" + GOOD,
        "begins with a byte order mark; save the file as UTF-8 without it",
    ),
    "deeply nested": (b"[" * 100_000 + b"\n", "not usable JSON: "),
    "no output_tokens": (_line(output_tokens=...), "output_tokens must be a whole number, but it is missing"),
    "null output_tokens": (
        _line(output_tokens=None),
        "output_tokens must be a whole number, but it is missing",
    ),
    "text output_tokens": (_line(output_tokens="8"), 'output_tokens must be a whole number, found "8"'),
    "fraction output_tokens": (_line(output_tokens=8.0), "must be a whole number, found 8.0"),
    "infinite output_tokens": (_line(output_tokens=float("inf")), "found Infinity"),
    "true output_tokens": (_line(output_tokens=True), "output_tokens must be a whole number, found true"),
    "no tokens out": (_line(output_tokens=0), "output_tokens must be from 1 to 16,777,216, found 0"),
    "negative output_tokens": (
        _line(output_tokens=-3),
        "output_tokens must be from 1 to 16,777,216, found -3",
    ),
    "endless output_tokens": (_line(output_tokens=10**400), "found a number of more than 20 digits"),
    "no task_id": (_line(task_id=...), "task_id must be a whole number, but it is missing"),
    "text task_id": (_line(task_id="a"), 'task_id must be a whole number, found "a"'),
    "no input": (_line(input_ids=...), "input_ids and prompt are both missing; expected one of them"),
    "ids and prompt": (
        _line(prompt="a"),
        "both input_ids and prompt are present; engines use different ones: keep one",
    ),
    "ids and logits": (_line(logits=[1]), "both input_ids and logits are present; engines use"),
    "ids as text": (_line(input_ids="1,2"), 'input_ids must be a list of token ids, found "1,2"'),
    "ids as object": (_line(input_ids={"0": 1}), "input_ids must be a list of token ids, found an object"),
    "empty ids": (_line(input_ids=[]), "input_ids is empty; a request has at least one token"),
    "text id": (_line(input_ids=[1, "2"]), 'input_ids[1] must be a whole number, found "2"'),
    "fraction id": (_line(input_ids=[1.5]), "input_ids[0] must be a whole number, found 1.5"),
    "false id": (_line(input_ids=[7, False]), "input_ids[1] must be a whole number, found false"),
    "negative id": (_line(input_ids=[7, -1]), "input_ids contains the negative token id -1"),
    "negative alias": (_line(input_ids=..., logits=[-2]), "logits contains the negative token id -2"),
    "large id": (
        _line(input_ids=[129280]),
        "token id 129,280 is not below dataset.vocab_size (129280); was the",
    ),
    "prompt as list": (_line(input_ids=..., prompt=["a"]), "prompt must be a string, found a list"),
    "empty prompt": (_line(input_ids=..., prompt=""), "prompt is empty; a request has at least one token"),
    "half a surrogate pair": (
        _line(input_ids=..., prompt="ab\ud800"),
        "prompt has half of a surrogate pair at character 2; tokenizers reject that",
    ),
    "prepare_dataset's dump": (
        b'{"metadata":{},"samples":[]}\n',
        "this is a file from prepare_dataset.py --output, not JSONL; run that program with --stdout and "
        "redirect the output",
    ),
}


def test_a_dozen_malformed_datasets_and_more_are_tried() -> None:
    assert len(MALFORMED) >= 12


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_line_is_named_by_number(tmp_path: Path, name: str) -> None:
    line, expected = MALFORMED[name]
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + line)
    with pytest.raises(InvalidRunError) as caught:
        inspect_dataset(path, 2, vocab_size=129280)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a usable dataset (1 problem):\n  {path}:2: ")
    assert expected in message
    assert message.endswith(f"\n{FORMAT}")


def test_huge_number_is_an_error_whatever_python_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD.replace(b":20}", b":" + b"9" * 5000 + b"}"))
    with pytest.raises(
        InvalidRunError, match=r"not usable JSON: .*4300|found a number of more than 20 digits"
    ):
        inspect_dataset(path, 1)


def test_all_problems_of_a_line_and_of_a_file_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"input_ids":[]}\n\n' + GOOD)
    with pytest.raises(InvalidRunError) as caught:
        inspect_dataset(path, 4)
    assert str(caught.value).splitlines() == [
        f"{path} is not a usable dataset (5 problems):",
        f"  {path}:1: task_id must be a whole number, but it is missing",
        f"  {path}:1: output_tokens must be a whole number, but it is missing",
        f"  {path}:1: input_ids is empty; a request has at least one token",
        f"  {path}:2: the line is blank, which stops trtllm-bench < 1.3; delete it",
        f"  {path}: the file has 3 lines, but the scenario needs 4 requests (trtllm-bench would silently run "
        "fewer); make a longer file, or use --dsr1-set load.num_requests=3",
        FORMAT,
    ]


def test_problems_are_counted_beyond_those_shown(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"{}}\n" * 1500)
    with pytest.raises(InvalidRunError) as caught:
        inspect_dataset(path, 1500)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("(1,500 problems):")
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[-2] == "  and 1,480 more"


def test_line_without_end_is_skipped_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_LINE", 1 << 20)
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"1" * (5 << 20) + b"\n" + b"{\n")
    with pytest.raises(InvalidRunError) as caught:
        inspect_dataset(path, 2)
    assert f"{path}:1: the line is longer than 1 MiB; is this a JSONL file?" in str(caught.value)
    assert f"{path}:2: not JSON" in str(caught.value)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.touch()
    with pytest.raises(InvalidRunError, match=r"the file is empty; the scenario needs 1,024 requests"):
        inspect_dataset(path, 1024)


def test_missing_file(tmp_path: Path) -> None:
    expected = (
        "there is no such dataset file; correct dataset.path, or make the file as "
        "described by `pytest-dsr1 docs datasets`"
    )
    with pytest.raises(InvalidRunError, match=expected):
        inspect_dataset(tmp_path / "none.jsonl", 1)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunError, match=r"is a directory; expected a JSONL file in dataset.path"):
        inspect_dataset(tmp_path, 1)


def test_device_is_not_read_for_ever() -> None:
    with pytest.raises(InvalidRunError, match=r"/dev/zero is not a regular file; expected a JSONL file"):
        inspect_dataset(Path("/dev/zero"), 1)


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(InvalidRunError, match=r"the dataset cannot be read: File name too long"):
        inspect_dataset(path, 1)


def test_path_with_a_nul() -> None:
    with pytest.raises(InvalidRunError, match=r"the dataset cannot be read: .*null"):
        inspect_dataset(Path("a\0b"), 1)


def test_facts_cover_the_measured_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    measured = GOOD + _line(input_ids=[1] * 5, output_tokens=30)
    path.write_bytes(measured + b"what follows the measured lines is not read\n\n")
    workload = inspect_dataset(path, 2)
    assert (workload.path, workload.requests, workload.synthetic) == (path, 2, False)
    assert (workload.mean_input, workload.max_input) == (4.0, 5)
    assert (workload.mean_output, workload.max_output, workload.total_output) == (25.0, 30, 50)
    assert workload.sha256 == hashlib.sha256(measured).hexdigest()


def test_last_line_needs_no_end_and_windows_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD.replace(b"\n", b"\r\n") + GOOD.strip())
    assert inspect_dataset(path, 2).mean_input == 3.0


def test_text_has_no_length_without_a_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + _line(input_ids=None, prompt="Why is the sky blue?", output_tokens=2))
    workload = inspect_dataset(path, 2)
    assert (workload.mean_input, workload.max_input) == (None, None)
    assert workload.mean_output == 11.0


def test_other_keys_and_repeated_task_ids_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + _line(lora_request={"lora_name": "a"}, category="x"))
    assert inspect_dataset(path, 2).requests == 2


def test_iter_requests(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + _line(input_ids=..., logits=[3]) + _line(input_ids=..., prompt="Hé") + GOOD)
    assert list(iter_requests(path, 3)) == [
        Request([5, 77, 9], None, 20),
        Request([3], None, 8),
        Request(None, "Hé", 8),
    ]


def test_iter_requests_stops_at_what_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b"\n")
    requests = iter_requests(path, 3)
    assert next(requests).output_tokens == 20
    with pytest.raises(InvalidRunError, match=rf"{path}:2: the line is blank"):
        next(requests)
    path.write_bytes(GOOD)
    with pytest.raises(InvalidRunError, match="the file has 1 lines, but the scenario needs 3 requests"):
        list(iter_requests(path, 3))


@pytest.mark.parametrize(
    ("length", "mean"),
    [(1024, 1024.0), (Normal(mean=100, stdev=5.0), 100.0), (Uniform(minimum=10, maximum=15), 12.5)],
)
def test_mean_tokens(length: Length, mean: float) -> None:
    assert mean_tokens(length) == mean


def test_lengths_far_from_the_scenarios_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(_line(input_ids=[9] * 100, output_tokens=200))
    workload = inspect_dataset(path, 1)
    near = Dataset(path=os.fspath(path), input_tokens=91, output_tokens=Uniform(minimum=1, maximum=360))
    assert length_warnings(workload, near) == (
        f"{path}: the mean of output_tokens is 200.0, the scenario expects 180.5; the targets were "
        "measured with other lengths: use another file, or change dataset.output_tokens and the targets",
    )
    far = Dataset(path=os.fspath(path), input_tokens=90, output_tokens=200)
    (warning,) = length_warnings(workload, far)
    assert "the mean of input_tokens is 100.0, the scenario expects 90; " in warning


_requests = st.builds(
    lambda task, source, output: {"task_id": task, **source, "output_tokens": output},
    st.integers(0, 10**6),
    st.one_of(
        st.lists(st.integers(0, 129279), min_size=1, max_size=20).map(lambda ids: {"input_ids": ids}),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(lambda text: {"prompt": text}),
    ),
    st.integers(1, 10**5),
)
_quick = settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@_quick
@given(requests=st.lists(_requests, min_size=1, max_size=5), ascii_only=st.booleans())
def test_what_is_written_is_read(tmp_path: Path, requests: list[dict[str, object]], ascii_only: bool) -> None:
    path = tmp_path / "data.jsonl"
    lines = [json.dumps(request, ensure_ascii=ascii_only) + "\n" for request in requests]
    path.write_bytes("".join(lines).encode())
    assert [(r.input_ids, r.prompt, r.output_tokens) for r in iter_requests(path, len(requests))] == [
        (r.get("input_ids"), r.get("prompt"), r["output_tokens"]) for r in requests
    ]
    assert inspect_dataset(path, len(requests), vocab_size=129280).requests == len(requests)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_nearly = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("task_id", "input_ids", "logits", "prompt", "output_tokens"), _json)
)


@_quick
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.lists(_nearly | _json, max_size=4).map(lambda lines: "\n".join(map(json.dumps, lines)).encode()),
    )
)
def test_any_bytes_are_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    try:
        workload = inspect_dataset(path, 2)
    except InvalidRunError:
        with pytest.raises(InvalidRunError, match=f"^{path} is not a usable dataset[ :]"):
            list(iter_requests(path, 2))
    else:
        outputs = [json.loads(line)["output_tokens"] for line in content.splitlines()[:2]]
        assert [request.output_tokens for request in iter_requests(path, 2)] == outputs
        assert (workload.mean_output, workload.max_output) == (sum(outputs) / 2, max(outputs))
