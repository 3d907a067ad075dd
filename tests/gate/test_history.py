from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.history import NO_HISTORY, History, PastRun, comparable_runs, history
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import DEFINITIONS
from pytest_dsr1.measurement.store import ResultFolder
from pytest_dsr1.metrics.catalogue import MetricValue
from tests.helpers.reference_store import FACTS, NOW
from tests.helpers.unlistable import unlistable
from tests.helpers.values import measurement, scenario

SPREAD = "steady_output_throughput"


def save(results: Path, minute: int, **changes: object) -> Path:
    began = datetime(2026, 11, 23, 20, minute, tzinfo=timezone.utc)
    with ResultFolder.create(results, scenario(), "suites/small.yaml", began) as folder:
        folder.complete(measurement(folder.path, started_utc=began.isoformat(), **changes))
    return folder.path


def test_runs_in_order_of_time(tmp_path: Path) -> None:
    later, earlier = save(tmp_path, 7), save(tmp_path, 5)
    found = history(tmp_path)
    assert [run.folder for run in found.runs] == [earlier, later]
    run = found.runs[0]
    assert (run.profile, run.node) == ("small", "cpu")
    assert run.at == datetime(2026, 11, 23, 20, 5, tzinfo=timezone.utc)
    assert run.metrics["total_output_throughput"] == 8.0
    assert found.unreadable == ()


def test_a_result_of_an_earlier_version(tmp_path: Path) -> None:
    """It ran to its end, and its steady output throughput had another definition."""
    metrics = {name: MetricValue(8.0, "records") for name in ("total_output_throughput", SPREAD)}
    path = save(tmp_path, 5, metrics=metrics, definitions=DEFINITIONS) / "measurement.json"
    (now,) = history(tmp_path).runs
    document = json.loads(path.read_bytes())
    del document["measurement"]["result"]["stopped"], document["measurement"]["definitions"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert history(tmp_path).runs == (replace(now, metrics={"total_output_throughput": 8.0}),)
    assert (now.stopped, now.metrics[SPREAD]) == (False, 8.0)


def test_runs_that_a_gate_would_compare(tmp_path: Path) -> None:
    """The same work on the same machine, under any software that may differ."""
    asked = scenario(gate={"under_test": {"gpu.ecc": True}})
    run = measurement(tmp_path / "own", scenario=asked, fingerprint=Fingerprint(FACTS))
    same = PastRun("small", NOW, FACTS, {}, tmp_path / "same", stopped=False)
    newer = replace(same, facts={**FACTS, "driver": "580", "gpu.ecc": False}, folder=tmp_path / "newer")
    others = (
        replace(same, profile="other"),
        replace(same, folder=run.folder),
        replace(same, facts={**FACTS, "gpu.uuids": ["GPU-c", "GPU-d"]}),
        replace(same, facts={**FACTS, "gpu.power_limit_w": 500.0}),
    )
    assert comparable_runs(History((*others, same, newer)), run) == [same, newer]


def test_runs_that_prove_nothing_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, 5, findings=(Finding("mismatch", "GPU 0 throttled", "hot"),))
    with ResultFolder.create(tmp_path, scenario(), "p", datetime.now(timezone.utc)) as under_way:
        pass
    with ResultFolder.create(tmp_path, scenario(), "p", datetime.now(timezone.utc)) as failed:
        failed.fail("it broke")
    assert under_way.path != failed.path
    assert history(tmp_path).runs == ()


def test_what_cannot_be_read_is_reported_and_hides_nothing(tmp_path: Path) -> None:
    good = save(tmp_path, 5)
    broken, foreign, folder = save(tmp_path, 6), save(tmp_path, 7), save(tmp_path, 8)
    deep, edited = save(tmp_path, 9), save(tmp_path, 10)
    (deep / "measurement.json").write_text("[" * 100_000, encoding="utf-8")
    (broken / "measurement.json").write_text('{"format": "pytest-dsr1', encoding="utf-8")
    document = json.loads((foreign / "measurement.json").read_text(encoding="utf-8"))
    (foreign / "measurement.json").write_text(json.dumps({**document, "version": 9}), encoding="utf-8")
    (edited / "measurement.json").write_text(json.dumps({**document, "measurement": []}), encoding="utf-8")
    (folder / "measurement.json").unlink()
    (folder / "measurement.json").mkdir()
    found = history(tmp_path)
    assert [run.folder for run in found.runs] == [good]
    assert found.unreadable == (
        f"{broken / 'measurement.json'}: is not JSON (Unterminated string starting at: line 1 column 12 "
        "(char 11)); it was damaged after it was written",
        f"{foreign / 'measurement.json'}: has format version 9; this pytest-dsr1 reads version 1: use the "
        "pytest-dsr1 that wrote it",
        f"{folder / 'measurement.json'}: cannot be read: Is a directory; `ls -ld "
        f"{folder / 'measurement.json'}` shows what is there",
        f"{deep / 'measurement.json'}: is nested too deeply; it was damaged after it was written",
        f"{edited / 'measurement.json'}: it does not contain a measurement; the file was changed after it "
        "was written",
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("started_utc",), "2026-11-01T00:00:00"),
        (("fingerprint", "facts", "gpu.uuids"), [1]),
        (("fingerprint", "facts", "cpu.cores"), {"a": 1}),
    ],
    ids=["no time zone", "numbers in a list", "a mapping"],
)
def test_an_edited_run_does_not_break_the_comparison(
    tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    """A run that fails reads all of them, and must end with its own verdict."""
    good, edited = save(tmp_path, 5), save(tmp_path, 6)
    file = edited / "measurement.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    inner = document["measurement"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(document), encoding="utf-8")
    found = history(tmp_path)
    assert [run.folder for run in found.runs] == [good]
    assert len(found.unreadable) == 1
    assert "does not contain a measurement" in found.unreadable[0]


def test_no_results_yet(tmp_path: Path) -> None:
    assert history(tmp_path / "none") == NO_HISTORY


def test_what_is_no_result_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "small" / "under way").mkdir(parents=True)
    (tmp_path / "small" / "file").touch()
    assert history(tmp_path) == NO_HISTORY
    later = save(tmp_path, 5)
    (tmp_path / "small" / "under way").rename(later.with_name("0"))
    assert [run.folder for run in history(tmp_path).runs] == [later]


def test_a_folder_that_cannot_be_listed_is_reported_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, denied = save(tmp_path, 5), tmp_path / "theirs"
    denied.mkdir()
    with monkeypatch.context() as patch:
        unlistable(patch, denied)
        found = history(tmp_path)
    assert [run.folder for run in found.runs] == [good]
    assert found.unreadable == (f"{denied}: cannot be listed: Permission denied",)
    assert history(good / "measurement.json").unreadable == (
        f"{good}/measurement.json: cannot be listed: Not a directory",
    )
