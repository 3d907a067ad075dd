from __future__ import annotations

import hashlib
import json
import math
import operator
import os
import subprocess
import sys
from itertools import combinations, takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Dataset, Length, Load, Normal, Uniform
from pytest_dsr1.workload import synthetic
from pytest_dsr1.workload.dataset import inspect_dataset
from pytest_dsr1.workload.synthetic import content_key, draw_lengths, synthetic_bytes, write_synthetic


def _dataset(inputs: Length, outputs: Length, **others: int) -> Dataset:
    return Dataset(input_tokens=inputs, output_tokens=outputs, **others)  # type: ignore[arg-type]


def _load(requests: int) -> Load:
    return Load(concurrency=1, num_requests=requests)


def _written(folder: Path, dataset: Dataset, requests: int) -> bytes:
    path = folder / "data.jsonl"
    write_synthetic(dataset, _load(requests), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("dataset", "requests", "sha256"),
    [
        (_dataset(1024, 2048), 300, "eccc9a37308ce49b5c874ed84c4ef47607f0b193f9a88581260255348280a77f"),
        (
            _dataset(Normal(mean=100, stdev=30.0), Normal(mean=5, stdev=4.0), seed=7),
            500,
            "48cb25685a01c6e438b13551f0e438aca40f125487c86df51982ce699a824d4c",
        ),
        (
            _dataset(Uniform(minimum=1, maximum=300), Uniform(minimum=3, maximum=9), vocab_size=512),
            500,
            "92e490453283796fbd453f83cf6717a0bcdcb3900c0edee66faf9e8ca6489deb",
        ),
    ],
)
def test_bytes_never_change(tmp_path: Path, dataset: Dataset, requests: int, sha256: str) -> None:
    """Where this fails on purpose, FORMAT_VERSION goes up."""
    assert hashlib.sha256(_written(tmp_path, dataset, requests)).hexdigest() == sha256


def test_line_is_as_the_published_script_writes_it_but_for_spaces(tmp_path: Path) -> None:
    first, second = _written(tmp_path, _dataset(3, 2048), 2).decode().splitlines()
    ids = json.loads(first)["input_ids"]
    assert first == (f'{{"task_id":0,"input_ids":[{ids[0]:7},{ids[1]:7},{ids[2]:7}],"output_tokens":2048}}')
    assert second.startswith('{"task_id":1,"input_ids":[')


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    inputs=st.integers(1, 400)
    | st.builds(Normal, mean=st.integers(1, 50), stdev=st.floats(0, 100))
    | st.tuples(st.integers(1, 50), st.integers(0, 99)).map(lambda t: Uniform(minimum=t[0], maximum=sum(t))),
    outputs=st.integers(1, 3000) | st.builds(Normal, mean=st.integers(1, 999), stdev=st.floats(0, 100)),
    vocab_size=st.sampled_from([3, 11, 1000, 1001, 129280]),
    seed=st.integers(-(2**70), 2**70),
    requests=st.integers(1, 120),
)
def test_every_file_is_read_as_asked_for_and_has_the_size_foretold(
    tmp_path: Path, inputs: Length, outputs: Length, vocab_size: int, seed: int, requests: int
) -> None:
    dataset = _dataset(inputs, outputs, vocab_size=vocab_size, seed=seed)
    size = len(_written(tmp_path, dataset, requests))
    assert size == synthetic_bytes(dataset, _load(requests))
    workload = inspect_dataset(tmp_path / "data.jsonl", requests, vocab_size=vocab_size)
    lengths = draw_lengths(dataset, _load(requests))
    assert workload.max_input == lengths.inputs.max()
    assert workload.mean_input == pytest.approx(lengths.inputs.mean())
    assert workload.max_output == lengths.outputs.max()
    assert workload.mean_output == pytest.approx(lengths.outputs.mean())


def test_bytes_do_not_depend_on_the_size_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = _dataset(Uniform(minimum=1, maximum=700), 10)
    before = _written(tmp_path, dataset, 200)
    monkeypatch.setattr(synthetic, "_TOKENS_A_BLOCK", 64)
    assert _written(tmp_path, dataset, 200) == before


def test_another_seed_gives_other_tokens_and_lengths(tmp_path: Path) -> None:
    one = _dataset(Normal(mean=90, stdev=9.0), Normal(mean=90, stdev=9.0), seed=1)
    two = one.model_copy(update={"seed": 2})
    load = _load(50)
    assert draw_lengths(one, load).inputs.tolist() != draw_lengths(two, load).inputs.tolist()
    assert draw_lengths(one, load).inputs.tolist() != draw_lengths(one, load).outputs.tolist()
    assert _written(tmp_path, one, 1)[40:80] != _written(tmp_path, two, 1)[40:80]


def test_ids_are_uniform_without_the_special_ones(tmp_path: Path) -> None:
    lines = _written(tmp_path, _dataset(2000, 1, vocab_size=52), 100).splitlines()
    ids = np.concatenate([json.loads(line)["input_ids"] for line in lines])
    counts = np.bincount(ids, minlength=52)
    assert counts[:2].tolist() == [0, 0]
    expected = ids.size / 50
    # Chi-square with 49 degrees of freedom: beyond 100 once in 20,000 seeds, and the seed is fixed.
    assert ((counts[2:] - expected) ** 2 / expected).sum() < 100


def test_normal_lengths_follow_the_normal_distribution() -> None:
    count = 100_000
    lengths = np.sort(draw_lengths(_dataset(Normal(mean=10_000, stdev=500.0), 1), _load(count)).inputs)
    assert lengths.mean() == pytest.approx(10_000.5, abs=5)  # rounded up
    assert lengths.std() == pytest.approx(500, abs=5)
    expected = np.array([0.5 * math.erfc((10_000 - n) / 500 / math.sqrt(2)) for n in lengths[::100]])
    assert np.abs(expected - np.arange(0, count, 100) / count).max() < 0.006


def test_normal_lengths_are_rounded_up_and_at_least_one() -> None:
    lengths = draw_lengths(_dataset(Normal(mean=1, stdev=50.0), Normal(mean=7, stdev=0.0)), _load(1000))
    assert lengths.inputs.min() == 1
    assert (lengths.inputs == 1).mean() == pytest.approx(0.5, abs=0.05)
    assert set(lengths.outputs.tolist()) == {7}


def test_uniform_lengths_reach_both_ends() -> None:
    lengths = draw_lengths(_dataset(Uniform(minimum=3, maximum=6), Uniform(minimum=2, maximum=2)), _load(400))
    assert set(lengths.inputs.tolist()) == {3, 4, 5, 6}
    assert set(lengths.outputs.tolist()) == {2}


def test_progress_counts_requests_up_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_TOKENS_A_BLOCK", 64)
    seen: list[tuple[int, int]] = []
    write_synthetic(_dataset(50, 10), _load(20), tmp_path / "data.jsonl", lambda *counts: seen.append(counts))
    assert seen == sorted(seen)
    assert len(seen) > 10
    assert seen[-1] == (20, 20)
    assert all(total == 20 for _, total in seen)


@pytest.mark.parametrize(
    "length",
    [
        2**24 + 1,
        10**30,
        Normal(mean=10**400, stdev=1.0),
        Normal(mean=10, stdev=1e308),
        Normal(mean=10, stdev=2.0**24),
        Uniform(minimum=1, maximum=10**30),
    ],
)
def test_absurd_lengths(length: Length) -> None:
    message = (
        r"dataset.output_tokens gives requests of more than 16,777,216 tokens, too long for any model; Deep"
    )
    with pytest.raises(InvalidRunError, match=message):
        synthetic_bytes(_dataset(1, length), _load(50))


@pytest.mark.parametrize("vocab_size", [2, 10**7 + 1])
def test_vocabulary_without_ids_or_without_end(vocab_size: int) -> None:
    message = (
        rf"dataset.vocab_size is {vocab_size:,}, expected 3 to 10,000,000 \(DeepSeek-R1: 129,280\); ids 0 and"
    )
    with pytest.raises(InvalidRunError, match=message):
        draw_lengths(_dataset(1, 1, vocab_size=vocab_size), _load(1))


def test_full_disk_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_synthetic(_dataset(1000, 1), _load(1000), Path("/dev/full"))


def test_content_key_depends_on_everything_the_bytes_depend_on() -> None:
    base = _dataset(10, 20)
    keys = {
        content_key(base, _load(5)),
        content_key(base, _load(6)),
        *(
            content_key(base.model_copy(update=change), _load(5))
            for change in (
                {"input_tokens": 11},
                {"input_tokens": Normal(mean=10, stdev=0.0)},
                {"output_tokens": 21},
                {"seed": 1},
                {"vocab_size": 100},
            )
        ),
    }
    assert len(keys) == 7
    assert content_key(base, _load(5)) == content_key(base, Load(concurrency=9, num_requests=5))


def _trace(folder: Path, *requests: tuple[int, list[int]]) -> Load:
    """A load that replays requests of these input lengths and hash ids."""
    path = folder / "trace.jsonl"
    rows = [
        {"timestamp": 10 * i, "input_length": tokens, "output_length": 1 + i, "hash_ids": ids}
        for i, (tokens, ids) in enumerate(requests)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arrival = {"type": "trace", "path": os.fspath(path)}
    return Load.model_validate({"concurrency": 1, "num_requests": len(rows), "arrival": arrival})


def _traced(folder: Path, dataset: Dataset, *requests: tuple[int, list[int]]) -> list[list[int]]:
    load, path = _trace(folder, *requests), folder / "data.jsonl"
    write_synthetic(dataset, load, path)
    assert path.stat().st_size == synthetic_bytes(dataset, load)
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(row["task_id"], row["output_tokens"]) for row in rows] == [
        (i, 1 + i) for i in range(len(requests))
    ]
    ids: list[list[int]] = [row["input_ids"] for row in rows]
    assert [len(tokens) for tokens in ids] == [tokens for tokens, _ in requests], "exact lengths"
    return ids


_A_REQUEST = st.lists(st.integers(0, 4), max_size=4).flatmap(
    lambda ids: st.tuples(st.integers(max(1, 512 * (len(ids) - 1) + 1), max(1, 512 * len(ids))), st.just(ids))
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(_A_REQUEST, min_size=2, max_size=5), st.sampled_from([1000, 129280]), st.integers(-9, 2**64))
def test_requests_share_exactly_the_tokens_of_their_common_hash_ids(
    tmp_path: Path, requests: list[tuple[int, list[int]]], vocab_size: int, seed: int
) -> None:
    dataset = _dataset(1, 1, vocab_size=vocab_size, seed=seed)
    prompts = _traced(tmp_path, dataset, *requests)
    for (one, (_, ids)), (other, (_, other_ids)) in combinations(zip(prompts, requests, strict=True), 2):
        common = sum(1 for _ in takewhile(bool, map(operator.eq, ids, other_ids)))
        shared = min(512 * common, len(one), len(other))
        assert one[:shared] == other[:shared]
        # Two random tokens may be equal; that eight in a row are so happens once in 1000**8.
        rest = [tokens[shared : shared + 8] for tokens in (one, other)]
        assert len(min(rest, key=len)) < 8 or rest[0] != rest[1]


def test_a_hash_id_means_the_same_in_every_request_and_another_with_another_seed(tmp_path: Path) -> None:
    one, other = _traced(tmp_path, _dataset(1, 1), (1024, [7, 2**64 - 1]), (1000, [2**64 - 1, 7]))
    assert one[:512] == other[512:] + one[488:512]
    assert one[512:] == other[:512]
    (again,) = _traced(tmp_path, _dataset(1, 1, seed=8), (1024, [7, 2**64 - 1]))
    assert again[:8] != one[:8]


def test_the_tokens_of_a_hash_id_never_change(tmp_path: Path) -> None:
    """SplitMix64 as published: where this fails on purpose, FORMAT_VERSION goes up."""
    mask = 2**64 - 1

    def mixed(state: int) -> int:
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
        return state ^ state >> 31

    # Its first outputs of the seed 1234567, as in Rosetta Code's task "Pseudo-random numbers/Splitmix64".
    golden = 0x9E3779B97F4A7C15
    assert [mixed(1234567 + i * golden & mask) for i in (1, 2)] == [6457827717110365317, 3203168211198807973]
    key = int(np.random.PCG64(np.random.SeedSequence([420, 4])).random_raw())
    seed = mixed(key + 46 * golden & mask)
    expected = [2 + ((mixed(seed + i * golden & mask) >> 32) * 129278 >> 32) for i in range(1, 513)]
    assert _traced(tmp_path, _dataset(1, 1), (512, [46])) == [expected]


def test_hash_ids_are_in_the_key_of_a_dataset(tmp_path: Path) -> None:
    keys = {content_key(_dataset(1, 1), _trace(tmp_path, (600, ids))) for ids in ([], [1, 2], [1, 3])}
    assert len(keys) == 3


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A request of 2 million tokens, 16 MB of text, takes a few megabytes more than one of a single token."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from pytest_dsr1.scenario.schema.scenario import Dataset, Load\n"
        "from pytest_dsr1.workload.synthetic import write_synthetic\n"
        "for tokens in (1, 2_000_000):\n"
        "    data = Dataset(input_tokens=tokens, output_tokens=1)\n"
        "    write_synthetic(data, Load(concurrency=1, num_requests=4), Path(sys.argv[1]))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, os.fspath(tmp_path / "data.jsonl")],
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(int, result.stdout.split())
    kib = 1 if sys.platform != "darwin" else 1024
    assert (large - small) / kib < 12 * 1024
    assert (tmp_path / "data.jsonl").stat().st_size > 60e6
