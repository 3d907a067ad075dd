from __future__ import annotations

import json
import math
import os
import sys
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Load
from pytest_dsr1.workload.arrivals import TraceRequest, read_trace, schedule
from pytest_dsr1.workload.prepare import prepare
from tests.helpers.values import scenario


def load(count: int, arrival: dict[str, Any] | None) -> Load:
    return Load.model_validate({"concurrency": 1, "num_requests": count, "arrival": arrival})


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(times)]


@given(
    st.integers(1, 200),
    st.floats(0.01, 1e4),
    st.floats(0.05, 20.0),
    st.integers(-(2**63), 2**63),
    st.booleans(),
)
def test_any_schedule_begins_at_once_and_never_goes_back(
    count: int, rate: float, burstiness: float, seed: int, gamma: bool
) -> None:
    arrival: dict[str, Any] = {"type": "poisson", "rate_req_s": rate, "seed": seed}
    if gamma:
        arrival |= {"type": "gamma", "burstiness": burstiness}
    times = schedule(load(count, arrival))
    assert times is not None
    assert len(times) == count
    assert times[0] == 0.0
    assert all(gap >= 0 for gap in gaps(times))
    assert schedule(load(count, arrival)) == times, "a seed means one schedule"


def test_closed_loop_has_no_schedule() -> None:
    assert schedule(load(3, None)) is None


def test_constant_rate() -> None:
    assert schedule(load(4, {"type": "constant", "rate_req_s": 2.0})) == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("arrival", "variation"),
    [
        ({"type": "poisson"}, 1.0),
        ({"type": "gamma", "burstiness": 4.0}, 0.5),
        ({"type": "gamma", "burstiness": 0.25}, 2.0),
    ],
)
def test_mean_rate_and_variation_of_gaps(arrival: dict[str, Any], variation: float) -> None:
    times = schedule(load(20_000, {**arrival, "rate_req_s": 50.0}))
    assert times is not None
    assert fmean(gaps(times)) == pytest.approx(0.02, rel=0.06)
    assert pstdev(gaps(times)) / fmean(gaps(times)) == pytest.approx(variation, rel=0.06)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (420, [0.0, 0.46495754608360773, 1.4911472361058793, 1.5297331846290243]),
        (-1, [0.0, 0.13740809798929665, 0.3688060467426719, 1.7112835421746955]),
        (2**64 - 1, [0.0, 0.13740809798929665, 0.3688060467426719, 1.7112835421746955]),
        (2**63, [0.0, 0.2389344909372808, 0.6678830487934951, 1.0449782769710332]),
    ],
)
def test_schedule_of_a_seed_never_changes(seed: int, expected: list[float]) -> None:
    """Where this fails with a new numpy, its distributions have changed."""
    times = schedule(load(4, {"type": "poisson", "rate_req_s": 2.0, "seed": seed}))
    assert times == pytest.approx(expected, rel=1e-12)


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def line(timestamp: object = 0, **changes: object) -> dict[str, object]:
    return {"timestamp": timestamp, "input_length": 6, "output_length": 2, "hash_ids": [46], **changes}


def test_trace(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", line(27000), line(27500, input_length=9), line(30000, output_length=5))
    arrival = {"type": "trace", "path": str(path), "speedup": 2.0}
    assert schedule(load(3, arrival)) == [0.0, 0.25, 1.5]
    assert read_trace(path, 2) == [TraceRequest(0.0, 6, 2, (46,)), TraceRequest(0.5, 9, 2, (46,))]
    of = scenario(
        engine={"type": "openai", "url": "http://h"},
        model={"name": "m"},
        load={"concurrency": 1, "num_requests": 3, "arrival": arrival},
    )
    workload = prepare(of.dataset, of.load, environ={"XDG_CACHE_HOME": str(tmp_path)})
    assert (workload.mean_input, workload.max_input, workload.mean_output) == (7.0, 9, 3.0)
    write(path, line(27000), line(27500), line(30000))
    again = prepare(of.dataset, of.load, environ={"XDG_CACHE_HOME": str(tmp_path)})
    assert again.sha256 != workload.sha256


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON"),
        ([], "expected a JSON object"),
        (line(None), "timestamp must be milliseconds, 0 or more, found null"),
        (line(-1), "timestamp must be milliseconds"),
        (line(True), "timestamp must be milliseconds"),
        (line(math.inf), "timestamp must be milliseconds, 0 or more, found Infinity"),
        (line(math.nan), "timestamp must be milliseconds, 0 or more, found NaN"),
        (line(10**400), "timestamp must be milliseconds, 0 or more, found a number of more than 20 digits"),
        (line(0), "timestamp 0 is before that of the line above"),
        (line(2, input_length=0), "input_length must be a whole number from 1 to 16,777,216, found 0"),
        (
            line(2, input_length=2**24 + 1, hash_ids=[]),
            "input_length must be a whole number from 1 to 16,777,216",
        ),
        (line(2, output_length=1.5), "output_length must be a whole number from 1 to 16,777,216, found 1.5"),
        (line(2, hash_ids="x"), 'hash_ids must be a list of whole numbers, found "x"'),
        (line(2, hash_ids=None), "hash_ids must be a list of whole numbers, found null"),
        *(
            (
                line(2, hash_ids=[0, bad, "later"]),
                f"hash_ids must be whole numbers from 0 to 2^64 - 1, found {shown}",
            )
            for bad, shown in (
                (-1, "-1"),
                (2**64, "18,446,744,073,709,551,616"),
                (None, "null"),
                (True, "true"),
            )
        ),
        *(
            (
                line(2, input_length=tokens, hash_ids=[46, 47]),
                f"expected {expected} hash_ids, found 2: one per 512 tokens of input_length ({tokens:,}), "
                "and one for the rest",
            )
            for tokens, expected in ((512, 1), (1025, 3))
        ),
    ],
)
def test_bad_line_of_a_trace(bad: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", line(1), bad)
    with pytest.raises(InvalidRunError) as caught:
        read_trace(path, 2)
    assert str(caught.value).startswith(f"{path} is not a usable trace (1 problem):\n  {path}:2: {message}")
    assert "the Mooncake trace format" in str(caught.value)


@pytest.mark.parametrize(
    "good",
    [
        line(0, input_length=1, output_length=1),
        line(sys.float_info.max),
        line(input_length=2**24, output_length=2**24, hash_ids=[]),
        line(hash_ids=[0]),
        line(hash_ids=[2**64 - 1]),
    ],
)
def test_line_at_a_limit_of_the_format(good: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", good)
    expected = TraceRequest(0.0, good["input_length"], good["output_length"], tuple(good["hash_ids"]))
    assert read_trace(path, 1) == [expected]


def test_line_of_a_trace_has_at_most_16_mib(tmp_path: Path) -> None:
    longest = json.dumps(line()).replace("{", "{" + " " * (2**24 - len(json.dumps(line()))))
    assert len(read_trace(write(tmp_path / "t.jsonl", longest), 1)) == 1
    longer = longest.replace("{", "{ ")
    with pytest.raises(InvalidRunError, match=r"t\.jsonl:1: not JSON"):
        read_trace(write(tmp_path / "t.jsonl", longer), 1)


@pytest.mark.parametrize(
    ("count", "shown", "more"),
    [(2, "2", []), (20, "20", []), (21, "21", ["  and 1 more"]), (1025, "1,025", ["  and 1,005 more"])],
)
def test_first_20_problems_of_a_trace_are_named(
    count: int, shown: str, more: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / "t.jsonl", *["{"] * count)
    with pytest.raises(InvalidRunError) as caught:
        read_trace(path, count)
    head, *problems, _ = str(caught.value).splitlines()
    assert head == f"{path} is not a usable trace ({shown} problems):"
    named = [f"  {path}:{i}: not JSON; expected one whole object on the line" for i in range(1, count + 1)]
    assert problems == [*named[:20], *more]


def test_all_problems_of_a_trace_come_at_once(tmp_path: Path) -> None:
    wrong = {"timestamp": "x", "input_length": 0, "output_length": 0, "hash_ids": [-1]}
    path = write(tmp_path / "t.jsonl", line(1), wrong, line(2), line(2, input_length=600))
    with pytest.raises(InvalidRunError) as caught:
        read_trace(path, 4)
    head, *problems, _ = str(caught.value).splitlines()
    assert head == f"{path} is not a usable trace (5 problems):"
    assert [p.partition(" must ")[0].partition(": one per ")[0] for p in problems] == [
        *(f"  {path}:2: {key}" for key in ("timestamp", "input_length", "output_length", "hash_ids")),
        f"  {path}:4: expected 2 hash_ids, found 1",
    ]


def test_trace_that_is_too_short_or_missing(tmp_path: Path) -> None:
    for count, words, advice in (
        (0, "0 lines", "correct load.arrival.path"),
        (1, "1 line", "use --dsr1-set load.num_requests=1"),
        (2, "2 lines", "use --dsr1-set load.num_requests=2"),
    ):
        with pytest.raises(InvalidRunError) as caught:
            read_trace(write(tmp_path / "t.jsonl", *(line(number) for number in range(count))), 3)
        assert f"has {words}, but the scenario needs 3 requests; {advice}\n" in str(caught.value)
    with pytest.raises(InvalidRunError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none", 1)


def test_a_trace_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.jsonl")
    with pytest.raises(InvalidRunError, match=r"the trace cannot be read: it is a device or pipe; correct"):
        read_trace(tmp_path / "t.jsonl", 1)
