from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Dataset, Load, Normal
from pytest_dsr1.workload.dataset import inspect_dataset
from pytest_dsr1.workload.prepare import cache_folder, first, prepare
from pytest_dsr1.workload.synthetic import content_key, write_synthetic

DATASET = Dataset(input_tokens=Normal(mean=50, stdev=9.0), output_tokens=30)
LOAD = Load(concurrency=4, num_requests=40)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": os.fspath(tmp_path / "cache")}


def _fail(*_: int) -> None:
    pytest.fail("the dataset is made again")


def test_synthetic_workload_is_what_its_file_holds(environ: dict[str, str]) -> None:
    workload = prepare(DATASET, LOAD, environ=environ)
    read = inspect_dataset(workload.path, 40, vocab_size=129280)
    assert workload.synthetic
    assert workload.warnings == ()
    assert workload.requests == 40
    assert workload.mean_input == pytest.approx(read.mean_input)
    assert workload.max_input == read.max_input
    assert (workload.mean_output, workload.max_output) == (30.0, 30)
    assert workload.sha256 == content_key(DATASET, LOAD)
    assert workload.path.name == f"synthetic-{workload.sha256[:16]}.jsonl"
    assert workload.path.parent == cache_folder(environ) / "datasets"
    assert [path.name for path in workload.path.parent.iterdir()] == [workload.path.name]


def test_synthetic_workload_is_made_once(environ: dict[str, str]) -> None:
    seen: list[int] = []
    first = prepare(DATASET, LOAD, environ=environ, progress=lambda done, _: seen.append(done))
    assert seen[-1] == 40
    assert prepare(DATASET, LOAD, environ=environ, progress=_fail) == first


@pytest.mark.parametrize("damage", ["shorter", "longer", "empty"])
def test_damaged_entry_is_made_again(environ: dict[str, str], damage: str) -> None:
    path = prepare(DATASET, LOAD, environ=environ).path
    content = path.read_bytes()
    path.write_bytes({"shorter": content[:-1], "longer": content + b"\n", "empty": b""}[damage])
    assert prepare(DATASET, LOAD, environ=environ).path.read_bytes() == content


def test_failure_leaves_nothing_behind(environ: dict[str, str]) -> None:
    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(DATASET, LOAD, environ=environ, progress=interrupt)
    assert list((cache_folder(environ) / "datasets").iterdir()) == []


def test_what_a_killed_run_left_goes_after_a_day(environ: dict[str, str]) -> None:
    folder = cache_folder(environ) / "datasets"
    folder.mkdir(parents=True)
    old, new = folder / ".synthetic-a.jsonl.x.part", folder / ".synthetic-b.jsonl.y.part"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    prepare(DATASET, LOAD, environ=environ)
    assert not old.exists()
    assert new.exists()


def test_processes_at_once_do_not_clash(environ: dict[str, str], tmp_path: Path) -> None:
    """The second begins when the first is in the middle of its file, and both end well."""
    program = (
        "import os, sys\n"
        "from pytest_dsr1.scenario.schema.scenario import Dataset, Load\n"
        "from pytest_dsr1.workload.prepare import prepare\n"
        "def progress(done, total):\n"
        "    if done < total:\n"
        "        print('writing', flush=True)\n"
        "        sys.stdin.readline()\n"
        "data = Dataset(input_tokens=9000, output_tokens=30)\n"
        "load = Load(concurrency=4, num_requests=20)\n"
        "print(prepare(data, load, environ=os.environ, progress=progress).path, flush=True)\n"
    )
    arguments = [sys.executable, "-c", program]
    settings = {"text": True, "env": {**os.environ, **environ}}
    with (
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **settings) as one,  # type: ignore[call-overload]
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **settings) as two,  # type: ignore[call-overload]
    ):
        assert [process.stdout.readline() for process in (one, two)] == ["writing\n"] * 2
        ends = [process.communicate("\n" * 9)[0].split()[-1] for process in (one, two)]
    assert ends[0] == ends[1]
    path = Path(ends[0])
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    expected = tmp_path / "expected.jsonl"
    write_synthetic(
        Dataset(input_tokens=9000, output_tokens=30), Load(concurrency=1, num_requests=20), expected
    )
    assert path.read_bytes() == expected.read_bytes()


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRunError) as caught:
        prepare(DATASET, LOAD, environ={"XDG_CACHE_HOME": os.fspath(tmp_path / "file")})
    assert str(caught.value) == (
        f"the synthetic dataset (0.0 MiB) cannot be written to {tmp_path}/file/pytest-dsr1/datasets: Not a "
        "directory; make room there, or set XDG_CACHE_HOME to a writable folder with enough room"
    )


def test_folder_in_the_place_of_the_entry(environ: dict[str, str]) -> None:
    path = prepare(DATASET, LOAD, environ=environ).path
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidRunError, match=r"cannot be written to .*: Is a directory; make room"):
        prepare(DATASET, LOAD, environ=environ)


def test_the_first_requests_of_a_workload(tmp_path: Path) -> None:
    path = tmp_path / "real.jsonl"
    rows = [(2, 10), (4, 30), (9, 90)]
    lines = [
        f'{{"task_id":{i},"input_ids":{[7] * tokens},"output_tokens":{out}}}\n'
        for i, (tokens, out) in enumerate(rows)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    dataset = Dataset(path=os.fspath(path), input_tokens=1024, output_tokens=30)
    whole = prepare(dataset, Load(concurrency=1, num_requests=3), environ={})
    cut = first(whole, 2)
    assert (cut.path, cut.requests) == (path, 2)
    assert (cut.mean_input, cut.max_input, cut.mean_output, cut.max_output) == (3.0, 4, 20.0, 30)
    assert (cut.sha256, cut.warnings, cut.synthetic) == (whole.sha256, whole.warnings, False)
    assert len(cut.warnings) == 2
    assert first(whole, 3) is whole
    with pytest.raises(InvalidRunError) as caught:
        first(cut, 3)
    assert str(caught.value) == (
        f"{path}: 3 requests are needed, but the workload has 2; raise load.num_requests to at least 3"
    )


def test_the_first_requests_of_a_synthetic_workload(environ: dict[str, str]) -> None:
    whole = prepare(DATASET, LOAD, environ=environ)
    cut = first(whole, 8)
    assert (cut.requests, cut.synthetic, cut.sha256, cut.path) == (8, True, whole.sha256, whole.path)
    assert cut.total_output == 8 * 30


def test_cache_folder_of_the_user() -> None:
    from platformdirs import user_cache_path

    assert cache_folder({"XDG_CACHE_HOME": " "}) == user_cache_path("pytest-dsr1")
    assert cache_folder({"XDG_CACHE_HOME": "/fast"}) == Path("/fast/pytest-dsr1")


def test_own_file_is_checked_and_compared_with_the_scenario(tmp_path: Path) -> None:
    path = tmp_path / "real.jsonl"
    path.write_text('{"task_id":0,"input_ids":[7,8],"output_tokens":30}\n', encoding="utf-8")
    load = Load(concurrency=1, num_requests=1)
    fitting = Dataset(path=os.fspath(path), input_tokens=2, output_tokens=30)
    workload = prepare(fitting, load, environ={}, progress=_fail)
    assert (workload.path, workload.synthetic, workload.warnings) == (path, False, ())
    other = fitting.model_copy(update={"input_tokens": 1024})
    (warning,) = prepare(other, load, environ={}).warnings
    assert "the mean of input_tokens is 2.0, the scenario expects 1024" in warning
    small = fitting.model_copy(update={"vocab_size": 8})
    with pytest.raises(InvalidRunError, match=r"token id 8 is not below dataset.vocab_size \(8\)"):
        prepare(small, load, environ={})
