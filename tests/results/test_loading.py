"""`pytest_dsr1.load_results`: which results it finds, and what it says if it cannot read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_dsr1
from pytest_dsr1 import MetricResult, Result, Results, load_results
from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement import store
from pytest_dsr1.results.table import COLUMNS
from tests.helpers.paths import ROOT
from tests.helpers.saved_results import BEFORE, save, save_unfinished
from tests.helpers.values import verdict


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


ROOT_OF_RESULTS = Path(".dsr1")


def test_by_default_all_results_oldest_first() -> None:
    last, other, first = (
        save(ROOT_OF_RESULTS, 2),
        save(ROOT_OF_RESULTS, 1, name="other"),
        save(ROOT_OF_RESULTS),
    )
    found = load_results()
    assert [each.folder for each in found] == [path.absolute() for path in (first, other, last)]
    assert found.left_out == ()
    assert repr(found) == "<Results: 3 of other, small>"


def test_names_of_all_kinds_each_run_once() -> None:
    one, other = save(ROOT_OF_RESULTS), save(Path("archive"), 1, name="other")
    found = load_results(one, "small", Path(".dsr1").absolute(), "archive", "arch*/other")
    assert [each.folder for each in found] == [one.absolute(), other.absolute()]
    assert [each.profile for each in load_results("other", results="archive")] == ["other"]


def test_it_is_a_sequence() -> None:
    for minute in range(3):
        save(ROOT_OF_RESULTS, minute, verdicts=[verdict(8.0 if minute else 10.0)])
    found = load_results()
    assert len(found) == 3
    assert isinstance(found[1:], Results)
    assert [*found[1:]] == [found[1], found[2]]
    assert found[-1] is found[2]
    with pytest.raises(AttributeError):
        found.left_out = ()  # type: ignore[misc]
    good = Results(each for each in found if each.verdict == "PASS")
    assert len(good) == 2
    assert repr(Results([])) == "<Results: 0 of no profile>"


def test_a_run_without_a_result_is_left_out_of_a_folder() -> None:
    good = save(ROOT_OF_RESULTS)
    running = save_unfinished(ROOT_OF_RESULTS, 1)
    failed = save_unfinished(ROOT_OF_RESULTS, 2, failed="out of GPU memory\nthe log")
    found = load_results()
    assert [each.folder for each in found] == [good.absolute()]
    assert found.left_out == (
        f"{running}/measurement.json: contains no complete measurement: the run was killed or is still in "
        "progress",
        f"{failed}/measurement.json: contains no complete measurement: the run failed: out of GPU memory",
    )
    with pytest.raises(UserError) as caught:
        load_results(good, failed)
    assert str(caught.value) == f"{found.left_out[1]}\nthe log"
    (good / "measurement.json").unlink()
    with pytest.raises(UserError) as caught:
        load_results()
    assert str(caught.value).splitlines() == list(found.left_out)


def test_everything_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged, newer = save(ROOT_OF_RESULTS), save(ROOT_OF_RESULTS, 1)
    (damaged / "measurement.json").write_text("{", encoding="utf-8")
    document = json.loads((newer / "measurement.json").read_text(encoding="utf-8"))
    (newer / "measurement.json").write_text(json.dumps({**document, "version": 9}), encoding="utf-8")
    closed = Path("closed").absolute()
    closed.mkdir()
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError) as caught:
        load_results("small", "nowhere", closed, "nowhere")
    assert str(caught.value).splitlines() == [
        "nowhere: is neither a folder nor a profile with results in .dsr1",
        f"{closed}: cannot be read: Permission denied",
        f"{damaged}/measurement.json: is not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)); it was damaged after it was written",
        f"{newer}/measurement.json: has format version 9; this pytest-dsr1 reads version 1: use the "
        "pytest-dsr1 that wrote it",
    ]


def test_results_with_an_old_definition_are_read_as_a_replay_reads_them() -> None:
    folder = save(ROOT_OF_RESULTS)
    path = folder / "measurement.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["measurement"].pop("definitions", None)
    metrics = document["measurement"]["metrics"]
    del metrics["average_ttft"]
    metrics[store.SPREAD] = {"value": 99.0, "origin": "records"}
    path.write_text(json.dumps(document), encoding="utf-8")
    (found,) = load_results()
    expected = store.load(folder).metrics
    assert {name: each.value for name, each in found.metrics.items()} == {
        name: each.value for name, each in expected.items()
    }
    assert found.metrics[store.SPREAD].value != 99.0


@pytest.mark.needs("pandas")
def test_a_dataframe() -> None:
    frame = load_results(BEFORE).to_dataframe()
    assert tuple(frame.columns) == COLUMNS
    assert str(frame["started_utc"].dt.tz) == "UTC"
    row = frame.set_index("metric").loc["average_ttft"]
    assert (row["value"], row["unit"], row["gpu_count"]) == (18.474737637670085, "ms", 8)
    empty = Results([]).to_dataframe()
    assert tuple(empty.columns) == COLUMNS
    typed = ["started_utc", "value", "target", "isl", "osl", "request_rate", "gpu_count", "concurrency"]
    assert [*map(str, frame[typed].dtypes)] == ["datetime64[ns, UTC]", *["float64"] * 5, *["Int64"] * 2]
    assert [*empty[typed].dtypes] == [*frame[typed].dtypes]


def test_a_dataframe_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError) as caught:
        load_results(BEFORE).to_dataframe()
    assert str(caught.value) == "to_dataframe() needs pandas: pip install pandas"


def test_what_is_public() -> None:
    assert {*pytest_dsr1.__all__} <= {*dir(pytest_dsr1)}
    assert [pytest_dsr1.MetricResult, pytest_dsr1.Result] == [MetricResult, Result]
    with pytest.raises(AttributeError, match="module 'pytest_dsr1' has no attribute 'load_result'"):
        pytest_dsr1.load_result  # noqa: B018


def test_the_package_imports_nothing_until_it_is_used() -> None:
    program = (
        "import sys, pytest_dsr1\n"
        "assert not {'numpy', 'pydantic', 'pandas', 'pytest_dsr1.results'} & {*sys.modules}\n"
        f"pytest_dsr1.load_results({str(BEFORE)!r})\n"
        "assert 'pandas' not in sys.modules\n"
        "assert 'pytest_dsr1.session' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
