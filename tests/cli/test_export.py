"""The command `pytest-dsr1 export`."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from tests.helpers.saved_results import save, save_unfinished
from tests.helpers.values import verdict

RESULTS = Path(".dsr1")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_all_results_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    save(RESULTS, verdicts=[verdict()])
    save(RESULTS, 1, name="other")
    assert main(["export"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    found = rows(shown.out)
    assert {(row["profile"], row["run_verdict"]) for row in found} == {("small", "PASS"), ("other", "")}
    row = next(row for row in found if row["metric"] == "total_output_throughput")
    assert (row["value"], row["unit"], row["target"], row["verdict"]) == ("8.0", "tok/s", "8.0", "PASS")


def test_some_results_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = save(Path("old")), save(Path("old"), 1)
    save(Path("old"), 2, name="other")
    assert main(["export", "small", str(one), "--results", "old", "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["folder"] for line in lines} == {str(one), str(two)}


def test_runs_without_a_result_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    save(RESULTS)
    running = save_unfinished(RESULTS, 1)
    assert main(["export", "small"]) == 0
    shown = capsys.readouterr()
    assert {row["started_utc"] for row in rows(shown.out)} == {"2026-11-23T20:05:12+00:00"}
    assert shown.err == (
        f"left out: {running}/measurement.json: contains no complete measurement: the run was killed or is "
        "still in progress\n"
    )


def test_a_file_is_replaced_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    save(RESULTS)
    assert main(["export"]) == 0
    expected = capsys.readouterr().out
    Path("out.csv").write_text("old", encoding="utf-8")
    assert main(["export", "--output", "out.csv"]) == 0
    assert Path("out.csv").read_text(encoding="utf-8") == expected
    assert sorted(path.name for path in Path().iterdir()) == [".dsr1", "out.csv"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("folder", "is a folder; expected a file name, such as folder/results.csv"),
        ("pipe", "is a device or pipe; omit --output to write to stdout"),
        ("no/out.csv", "cannot be written: No such file or directory; expected a file in a writable folder"),
        ("n" * 300, "cannot be written: File name too long; expected a file in a writable folder"),
    ],
)
def test_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str], output: str, why: str) -> None:
    save(RESULTS)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert main(["export", "--output", output]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"--output {output}: {why}\n")


def test_a_result_that_cannot_be_read_leaves_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    damaged = save(RESULTS)
    (damaged / "measurement.json").write_text("{", encoding="utf-8")
    Path("out.csv").write_text("old", encoding="utf-8")
    assert main(["export", "nowhere", "small", "--output", "out.csv"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "nowhere: is neither a folder nor a profile with results in .dsr1"
    assert second.startswith(f"{damaged}/measurement.json: is not JSON (")
    assert Path("out.csv").read_text(encoding="utf-8") == "old"


def test_without_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export"]) == 1
    assert capsys.readouterr().err == (
        ".dsr1: there is no such folder, in which runs save their results; start where it is, or name a "
        "folder of results\n"
    )


def test_another_format_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "--format", "xlsx"])
    assert ended.value.code == 2
    assert "--format: invalid choice: 'xlsx'" in capsys.readouterr().err
