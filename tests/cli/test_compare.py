"""The command `pytest-dsr1 compare`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.reference_file import read, write
from pytest_dsr1.measurement.store import ResultFolder
from pytest_dsr1.metrics.catalogue import combine
from tests.helpers.reference_store import references
from tests.helpers.values import measurement, scenario

START = datetime(2026, 11, 23, 20, 5, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


def saved(throughput: float, minute: int = 0, root: str = ".dsr1") -> Path:
    started = START + timedelta(minutes=minute)
    with ResultFolder.create(Path(root), scenario(), "suites/small.yaml", started) as folder:
        figures = combine({}, {"total_output_throughput": throughput})
        run = replace(measurement(folder.path), started_utc=started.isoformat(), metrics=figures)
        folder.complete(run)
        return folder.path


def test_two_folders(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = saved(8.0), saved(10.0, 1)
    assert main(["compare", str(first), str(second)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == (
        "20:05: small, 2026-11-23 20:05:12 UTC, engine transformers\n"
        "  .dsr1/small/20261123T200512Z\n"
        "20:06: small, 2026-11-23 20:06:12 UTC, engine transformers\n"
        "  .dsr1/small/20261123T200612Z\n"
        "\n"
        "                            20:05  20:06\n"
        "total output throughput  tok/s  8  10 +25.0% better\n"
        "\n"
        "changes within 2.8% may be noise: two runs could differ this much by chance (2\n"
        "* sqrt(2) * 1%, presumed by gate.presumed_noise_percent)\n"
    )


@pytest.mark.needs("jinja2", "vl_convert")
def test_as_a_page_too(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = saved(8.0), saved(10.0, 1)
    assert main(["compare", str(first), str(second), "--report", "compare.html"]) == 0
    assert "total output throughput" in capsys.readouterr().out
    assert "<svg" in Path("compare.html").read_text(encoding="utf-8")
    assert main(["compare", str(first), str(second), "--report", "no/compare.html"]) == 1
    assert capsys.readouterr().err == (
        "no/compare.html: the report cannot be written: No such file or directory\n"
    )


def test_a_profile_is_its_newest_complete_result(capsys: pytest.CaptureFixture[str]) -> None:
    first = saved(8.0, root="old")
    saved(9.0, 1)
    newest = saved(10.0, 2)
    with ResultFolder.create(Path(".dsr1"), scenario(), "suites/small.yaml", START + timedelta(minutes=3)):
        pass
    assert main(["compare", str(first), "small"]) == 0
    assert f"  {newest}\n" in capsys.readouterr().out
    assert main(["compare", "small", "small", "--results", "old"]) == 0
    assert capsys.readouterr().out.count(f"  {first}\n") == 2


def test_a_folder_comes_before_a_profile_of_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    saved(8.0)
    saved(9.0, 1).rename("small")
    assert main(["compare", "small", ".dsr1/small/20261123T200512Z"]) == 0
    assert "UTC, engine transformers\n  small\n" in capsys.readouterr().out


def test_the_noise_of_accepted_references(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = saved(8.0), saved(10.0, 1)
    store = Path("dsr1-references")
    now = datetime.now(timezone.utc)
    facts = measurement().fingerprint.facts
    accepted = references(16, facts=comparability.with_role("fixed", facts, {}))
    write(store, replace(accepted, accepted=replace(accepted.accepted, at=now - timedelta(days=1))))
    assert read(store, "small", now).noise_percent is not None
    assert main(["compare", str(first), str(second)]) == 0
    assert "from 16 accepted references)" in " ".join(capsys.readouterr().out.split())
    other = replace(accepted, facts={**accepted.facts, "dataset.content": "another"})
    write(store, replace(other, accepted=replace(accepted.accepted, at=now - timedelta(days=1))))
    assert main(["compare", str(first), str(second)]) == 0
    assert "presumed by gate.presumed_noise_percent)" in " ".join(capsys.readouterr().out.split())


def test_everything_that_is_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    good, damaged, later = saved(8.0), saved(8.0, 1), saved(8.0, 2)
    (damaged / "measurement.json").write_text("{", encoding="utf-8")
    document = json.loads((later / "measurement.json").read_text(encoding="utf-8"))
    (later / "measurement.json").write_text(json.dumps({**document, "version": "\x9b2J"}), encoding="utf-8")
    with ResultFolder.create(Path("other"), scenario(), "suites/small.yaml", START) as running:
        pass
    with ResultFolder.create(Path("third"), scenario(), "suites/small.yaml", START) as failed:
        failed.fail("out of GPU memory\x1b[2J\nthe log's last line")
    (Path(".dsr1") / "empty").mkdir()
    names = ["nowhere", good, ".dsr1/small", "empty", damaged, later, running.path, failed.path, "nowhere"]
    assert main(["compare", *map(str, [*names, "n" * 300])]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "nowhere: is neither a folder nor a profile with results in .dsr1",
        ".dsr1/small: no measurement.json; a saved result is a folder that a run wrote, such as "
        ".dsr1/<profile>/<UTC time>",
        ".dsr1/empty: contains no complete result",
        f"{damaged}/measurement.json: is not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)); it was damaged after it was written",
        f"{later}/measurement.json: has format version '\\x9b2J'; this pytest-dsr1 reads version 1: use the "
        "pytest-dsr1 that wrote it",
        "other/small/20261123T200512Z/measurement.json: contains no complete measurement: the run was killed "
        "or is still in progress",
        "third/small/20261123T200512Z/measurement.json: contains no complete measurement: the run failed: "
        "out of GPU memory\\x1b[2J",
        "the log's last line",
        f"{'n' * 300}: cannot be read: File name too long",
    ]


@pytest.mark.parametrize("names", [[], ["one"]])
def test_one_result_is_a_usage_error(capsys: pytest.CaptureFixture[str], names: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *names])
    assert ended.value.code == 2
    assert "the following arguments are required: " in capsys.readouterr().err


def in_a_terminal(*names: Path, **environ: str) -> str:
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    program = "import sys; from pytest_dsr1.cli.main import main; sys.exit(main(sys.argv[1:]))"
    child = subprocess.Popen(
        [sys.executable, "-c", program, "compare", *map(str, names)],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", **environ},
    )
    os.close(theirs)
    pieces = []
    with child, contextlib.suppress(OSError):  # EIO: nobody is left who could write
        # Read beside the child: a terminal holds 4 KB, and gives as little at a time as it likes.
        while piece := os.read(ours, 1 << 16):
            pieces.append(piece)
    os.close(ours)
    shown = b"".join(pieces).decode()
    assert child.returncode == 0, shown
    return shown


def test_colors_are_for_a_terminal_that_wants_them() -> None:
    results = saved(8.0), saved(10.0, 1)
    assert "  \x1b[32m10 +25.0% better\x1b[0m" in in_a_terminal(*results)
    assert "\x1b" not in in_a_terminal(*results, NO_COLOR="1")
    assert "\x1b" not in in_a_terminal(*results, TERM="dumb")
