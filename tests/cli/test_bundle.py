"""The command `pytest-dsr1 bundle`, and the commands that read its file."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pytest_dsr1 import load_results
from pytest_dsr1.cli.main import main
from tests.helpers.saved_results import save, save_unfinished
from tests.helpers.values import verdict

RESULTS = Path(".dsr1")
NAME = "small-20261123T200512Z.tar.gz"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(file: str) -> set[str]:
    with tarfile.open(file) as tar:
        return {name.removeprefix("small/20261123T200512Z/") for name in tar.getnames()}


def test_one_result_as_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(RESULTS, verdicts=[verdict()])
    (folder / "engine" / "run.log").write_text("started", encoding="utf-8")
    assert main(["bundle", "small"]) == 0
    assert capsys.readouterr() == (
        f"{NAME}: 5 files, 0.0 MB; it has host name, paths and logs, which may show secrets: send it only to "
        "people who may see them, or use --anonymous\n",
        "",
    )
    kept = {"measurement.json", "requests.jsonl", "scenario.yaml", "verdicts.json"}
    assert names(NAME) == {*kept, "engine/run.log"}
    assert main(["bundle", str(folder), "--anonymous", "--output", "a.tar.gz"]) == 0
    assert capsys.readouterr().out == (
        "a.tar.gz: 4 files, 0.0 MB; look through it before you publish it: messages may have names that "
        "pytest-dsr1 does not know\n"
    )
    assert names("a.tar.gz") == kept


def test_every_reader_of_results_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    save(RESULTS, verdicts=[verdict()])
    assert main(["bundle", "small", "--anonymous"]) == 0
    capsys.readouterr()
    assert main(["compare", NAME, "small"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("/small/20261123T200512Z\n") == 2
    assert "total output throughput" in shown
    assert main(["export", NAME]) == 0
    assert "small,2026-11-23T20:05:12+00:00,total_output_throughput,8.0,tok/s,8.0,PASS," in (
        capsys.readouterr().out
    )
    (found,) = load_results(NAME)
    assert (found.verdict, len(found.requests)) == ("PASS", 4)


def test_a_file_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(RESULTS)
    (folder / "engine" / "run.log").touch()
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "run.log":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    assert main(["bundle", "small"]) == 1
    assert capsys.readouterr().err == f"{folder}/engine/run.log: cannot be read: Permission denied\n"
    assert [path.name for path in Path().iterdir()] == [".dsr1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: is neither a folder nor a profile with results in .dsr1"),
        (["*"], "*: means 2 results; name one of them, such as .dsr1/other/20261123T200612Z"),
        (
            [".dsr1/small/20261123T200712Z"],
            ".dsr1/small/20261123T200712Z/measurement.json: contains no complete measurement: the run was "
            "killed or is still in progress",
        ),
        (["small", "--output", "a.zip"], "--output a.zip: expected a file name that ends in .tar.gz"),
        (
            ["small", "--output", "no/a.tar.gz"],
            "no/a.tar.gz: cannot be written: No such file or directory",
        ),
        (["empty.tar.gz"], "{here}/empty.tar.gz: is cut off or not a bundle (empty file); copy it again"),
    ],
)
def test_what_cannot_be_bundled(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    save(RESULTS)
    save(RESULTS, 1, name="other")
    save_unfinished(RESULTS, 2)
    Path("empty.tar.gz").touch()
    assert main(["bundle", *arguments]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", message.format(here=tmp_path) + "\n")
