"""Recorded runs: one whole file each, whoever writes; what cannot be read is named and left alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.errors import InvalidRunError, ReferencesError
from pytest_dsr1.gate.recordings import alike, checksum, folder_of, names, read
from pytest_dsr1.machine.values import Conditions, FactValue, Fingerprint, GpuSample, Telemetry
from pytest_dsr1.steady.trace import trace
from tests.helpers.killing import killed_in_a_program
from tests.helpers.paths import ROOT
from tests.helpers.recorded_runs import record_run
from tests.helpers.reference_store import FACTS, NODE
from tests.helpers.unlistable import unlistable
from tests.helpers.values import measurement

ADVICE = "restore the file, or move it out of the folder; until then nothing is accepted"


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    path = record_run(tmp_path, started_utc="2026-11-23T22:30:00+02:00")
    assert path.parent == tmp_path / "candidates" / "small"
    assert re.fullmatch(r"20261123T203000Z-[0-9a-f]{8}\.json", path.name)
    (found,), problems = read(tmp_path, "small")
    assert problems == ()
    assert (found.name, found.profile, found.node) == (path.stem, "small", NODE)
    assert found.at.isoformat() == "2026-11-23T20:30:00+00:00"
    assert (found.test_id_prefix, found.result) == ("suites/small.yaml", "results")
    assert found.facts == FACTS
    assert found.trace == trace(measurement())


def test_what_the_gpus_did_is_kept(tmp_path: Path) -> None:
    sample = GpuSample(101.0, 0, 1980, 3201, 612.5, None, 64, 100.0, 99, 0x40)
    path = record_run(tmp_path, telemetry=Telemetry(interval_s=0.2, gpus=(0,), samples=(sample,)))
    (found,), _ = read(tmp_path, "small")
    assert found.gpus == Conditions(1980.0, 612.5, 64.0, 0.6)
    # As files were before they were kept.
    path.write_text(_rewritten(lambda d: d.pop("gpus"))(path.read_text(encoding="utf-8")), encoding="utf-8")
    (found,), problems = read(tmp_path, "small")
    assert (found.gpus, problems) == (None, ())


def test_runs_are_in_order_of_time(tmp_path: Path) -> None:
    for second in (3, 1, 2):
        record_run(tmp_path, started_utc=f"2026-11-23T20:00:0{second}+00:00")
    found, _ = read(tmp_path, "small")
    assert [one.at.second for one in found] == [1, 2, 3]
    assert names(tmp_path, "small") == [one.name for one in found]
    assert names(tmp_path, "other") == []
    assert read(tmp_path, "other") == ((), ())


def test_runs_alike_have_the_same_node_software_machine_and_work(tmp_path: Path) -> None:
    """A kernel is only shown, and the order of GPUs says nothing."""
    changes: tuple[dict[str, FactValue], ...] = (
        {},
        {"kernel": "6.9", "gpu.uuids": ["GPU-a", "GPU-b"]},
        {"gpu.uuids": ["GPU-c", "GPU-d"]},
        {"driver": "580"},
        {"gpu.power_limit_w": 500.0},
        {"option.load.concurrency": 4},
    )
    for second, change in enumerate(changes):
        began = f"2026-11-23T20:00:0{second}+00:00"
        record_run(tmp_path, started_utc=began, fingerprint=Fingerprint({**FACTS, **change}))
    found, _ = read(tmp_path, "small")
    assert len(found) == len(changes)
    assert alike(found, FACTS) == found[:2]


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return edit


def _rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """Edited, with a checksum that fits."""

    def edit(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps({**document, "sha256": checksum(document)})

    return edit


EDITED = "does not match its checksum: it was edited or damaged after it was written"
DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda _: "", r"is not JSON \(.*\); it was damaged after it was written"),
    "truncated": (lambda text: text[:-9], r"is not JSON \(.*\); it was damaged after it was written"),
    "a merge conflict": (
        lambda text: f"<<<<<<< HEAD\n{text}",
        r"is not JSON \(.*\); it was damaged after it was written",
    ),
    "nested too deeply": (
        lambda _: "[" * 100_000,
        "is nested too deeply; it was damaged after it was written",
    ),
    "no object": (lambda _: "[]", r'is not a recorded run \("format" is not "pytest-dsr1 candidate"\)'),
    "another file": (
        _edited(lambda d: d.update(format="x")),
        r'is not a recorded run \("format" is not "pytest-dsr1 candidate"\)',
    ),
    "a foreign version": (
        _edited(lambda d: d.update(version=2)),
        "has format version 2; this pytest-dsr1 reads version 1: use the pytest-dsr1 that wrote it",
    ),
    "a renamed scenario": (
        _edited(lambda d: d.update(profile="old")),
        "is a run of 'old', not of 'small'; record the runs of a renamed scenario again",
    ),
    "a figure edited": (lambda text: text.replace("[1.0, 1.25, 2.0,", "[1.0, 1.25, 1.9,", 1), EDITED),
    "a fact edited": (_edited(lambda d: d["facts"].update({"gpu.vboost": 1})), EDITED),
    "a time edited": (_edited(lambda d: d.update(at="2026-11-22T20:00:00+00:00")), EDITED),
    "no checksum": (_edited(lambda d: d.pop("sha256")), EDITED),
    "no time zone": (
        _rewritten(lambda d: d.update(at="2026-11-23T20:00:00")),
        "at: input should have timezone info; the file was changed after it was written",
    ),
    "no trace": (
        _rewritten(lambda d: d.pop("trace")),
        "trace: field required; the file was changed after it was written",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, damage: str) -> None:
    record_run(tmp_path, started_utc="2026-11-23T20:00:01+00:00")
    path = record_run(tmp_path)
    change, message = DAMAGE[damage]
    damaged = change(path.read_text(encoding="utf-8"))
    path.write_text(damaged, encoding="utf-8")
    found, problems = read(tmp_path, "small")
    assert len(found) == 1
    assert len(problems) == 1
    assert re.fullmatch(rf"{path}: {message}: {ADVICE}", problems[0])
    assert path.read_text(encoding="utf-8") == damaged


def test_a_file_that_was_only_laid_out_anew_is_the_same_run(tmp_path: Path) -> None:
    path = record_run(tmp_path)
    before = read(tmp_path, "small")
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1, sort_keys=True), encoding="utf-8")
    assert read(tmp_path, "small") == before
    assert before[1] == ()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (folder_of(tmp_path, "small") / "x.json").mkdir(parents=True)
    assert read(tmp_path, "small") == (
        (),
        (
            f"{tmp_path}/candidates/small/x.json: cannot be read: Is a directory; `ls -ld "
            f"{tmp_path}/candidates/small/x.json` shows what is there: {ADVICE}",
        ),
    )


def test_a_copy_is_no_second_run(tmp_path: Path) -> None:
    path = record_run(tmp_path)
    copy = path.with_name("a-copy.json")
    copy.write_bytes(path.read_bytes())
    found, problems = read(tmp_path, "small")
    assert len(found) == 1
    assert problems == (
        f"{path.parent}/a-copy.json: is the same run as {path.name}: delete one of the two files",
    )


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "candidates").write_text("")
    with pytest.raises(InvalidRunError) as caught:
        record_run(tmp_path)
    assert re.fullmatch(
        rf"{tmp_path}/candidates/small/\S+\.json: the run cannot be recorded: (Not a directory|"
        r"File exists); make that folder writable, or free space there; the run itself is saved in results",
        str(caught.value),
    )


KILLED = """
import json, sys
from pathlib import Path
from pytest_dsr1.gate import recordings
from tests.helpers.killing import killed_at_every_point
from tests.helpers.recorded_runs import record_run

store, number = Path(sys.argv[1]), 0
record_run(store, started_utc="2026-11-23T19:00:00+00:00")

def record():
    record_run(store, started_utc=f"2026-11-23T20:{number // 60:02}:{number % 60:02}+00:00")

def found():
    # The run is there whole, or not at all, and the one from before is not touched.
    global number
    number += 1
    runs, problems = recordings.read(store, "small")
    assert problems == (), problems
    (earlier, *since) = runs
    assert earlier.at.hour == 19
    assert len(since) <= 1
    for one in since:
        (recordings.folder_of(store, "small") / f"{one.name}.json").unlink()
    return bool(since)

print(killed_at_every_point(recordings, record, found, store / "candidates" / "small"))
"""


def test_recording_survives_a_kill_at_every_point_of_a_write(tmp_path: Path) -> None:
    assert killed_in_a_program(KILLED, tmp_path) == "(True, [False, True], True)"


WRITER = """
import sys
from pathlib import Path
from tests.helpers.recorded_runs import record_run
for second in range(20):
    record_run(Path(sys.argv[1]), started_utc=f"2026-11-23T20:{sys.argv[2]}:{second:02}+00:00")
"""


def test_many_may_write_while_others_read(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"0{number}"], cwd=ROOT)
        for number in range(2)
    ]
    while any(writer.poll() is None for writer in writers):
        assert read(tmp_path, "small")[1] == ()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(read(tmp_path, "small")[0]) == 40
    assert len(list(folder_of(tmp_path, "small").iterdir())) == 40


def test_a_folder_that_cannot_be_listed_is_not_reported_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record_run(tmp_path).parent
    unlistable(monkeypatch, folder)
    for look in (names, read):
        with pytest.raises(ReferencesError) as caught:
            look(tmp_path, "small")
        assert str(caught.value) == (
            f"{folder}: cannot be listed: Permission denied; `ls -ld {folder}` shows what it is and who "
            "owns it; make it a folder that you can list"
        )
