from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from pytest_dsr1.scenario.writer import dump
from tests.helpers.runner_commands import commands
from tests.helpers.values import scenario
from tests.standins.nvml.control import FakeMachine, build


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml") / "driver")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pytest-dsr1 {version('pytest-dsr1')}\n"


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "required: COMMAND" in capsys.readouterr().err


def test_nothing_to_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DSR1_STATE_DIR", str(tmp_path))
    assert main(["restore"]) == 0
    assert capsys.readouterr().out == (
        f"nothing to restore: no journal of a GPU of this machine in {tmp_path}; if a run had another "
        "DSR1_STATE_DIR or XDG_STATE_HOME, set DSR1_STATE_DIR to that folder\n"
    )


def test_restore_puts_a_killed_run_back(library: Path, tmp_path: Path) -> None:
    machine = FakeMachine(library, tmp_path, 1)
    environ = machine.environ(os.environ)
    killed = (
        "import os\n"
        "from pytest_dsr1.machine.gpu.inventory import read_machine\n"
        "from pytest_dsr1.machine.setup.apply import applied\n"
        "from pytest_dsr1.scenario.schema.scenario import GpuSetup\n"
        "run = applied(GpuSetup(vboost=4), read_machine(os.environ).gpus, os.environ, print)\n"
        "run.__enter__()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", killed], env=environ, check=False)
    assert machine.gpu(0, "vboost") == "4"

    def restore() -> subprocess.CompletedProcess[str]:
        program = "import sys; from pytest_dsr1.cli.main import main; sys.exit(main(['restore']))"
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    machine.set("smi.permission", 0)
    refused = restore()
    assert refused.returncode == 1
    assert refused.stdout == (
        f"GPU 0 ({machine.uuid(0)}) could not be restored to vboost 0: no permission; as root: "
        "nvidia-smi boost-slider -i 0 --vboost 0 or pytest-dsr1 restore\n"
    )
    machine.set("smi.permission", 1)
    done = restore()
    assert done.returncode == 0
    assert done.stdout.startswith(f"{machine.uuid(0)}: restored to its state before the run of 20")
    assert machine.gpu(0, "vboost") == "0"


def test_dataset_writes_the_requests_of_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dataset.jsonl"
    assert main(["dataset", "cpu-min-latency", str(path)]) == 0
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 10
    assert {(len(row["input_ids"]), row["output_tokens"]) for row in rows} == {(64, 64)}
    assert list(tmp_path.iterdir()) == [path]
    assert capsys.readouterr().out == (
        f"{path}: 10 requests of cpu-min-latency, one per line; for trtllm-bench: --dataset {path}\n"
    )


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose pytest.ini names a folder with the scenario `mine`; its conftest.py prints."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.yaml").write_text(dump(scenario(name="mine")), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\ndsr1_suites = own\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text("print('hello')\n", encoding="utf-8")
    return tmp_path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("pytest-dsr1"))
    return subprocess.run([program, *command], capture_output=True, text=True, check=False)


def test_commands_know_the_suites_of_pytests_configuration(configured: Path) -> None:
    done = run("references", "export", "mine")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stdout.startswith("run,at,")
    (configured / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n", encoding="utf-8")
    done = run("dataset", "mine", "out.jsonl")
    assert done.returncode == 1
    assert "unrecognized arguments: --nonsense" in done.stderr
    assert done.stderr.endswith(
        "pytest cannot read its configuration here, so the ini option dsr1_suites is unknown: correct what "
        "pytest reports above\n"
    )


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["references", "show", "--store="], "--store"),
        (["references", "show", "--store", ""], "an argument"),
        (["references", "accept", "mine", "--reason", " "], "an argument"),
        (["dataset", "mine", ""], "an argument"),
        (["compare", "a", "b", "--results="], "--results"),
    ],
)
def test_an_empty_value_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], command: list[str], what: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {what} is empty: give it a value, or remove it\n")


@pytest.mark.parametrize(
    ("profile", "file", "message"),
    [
        (
            "h200-min-latency",
            "x.jsonl",
            "h200-min-latency: nothing to write; its requests are in ${DSR1_DATASET}",
        ),
        ("cpu-min-latency", "missing/x.jsonl", "x.jsonl: cannot be written: No such file or directory"),
        (
            "cpu-min-latncy",
            "x.jsonl",
            "no scenario is named 'cpu-min-latncy' (did you mean 'cpu-min-latency'",
        ),
    ],
)
def test_a_dataset_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], profile: str, file: str, message: str
) -> None:
    assert main(["dataset", profile, str(tmp_path / file)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "::error ::x", "##[group]y"], ": :error ::x: is neither a folder nor a profile"),
        (["dataset", "##[error]x", "x.jsonl"], "no scenario matches '# #[error]x'"),
    ],
)
def test_no_error_is_a_command_to_the_terminal_or_a_ci_server(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert commands(shown.err) == []


def test_a_usage_error_is_no_command_either(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["restore", "--a\n::error ::b"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: --a\n: :error ::b\n")


def test_a_damaged_journal_is_told_harmlessly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DSR1_STATE_DIR", str(tmp_path))
    (tmp_path / "##[error]x.journal.json").write_text("{", encoding="utf-8")
    assert main(["restore"]) == 1
    assert "# #[error]x.journal.json" in capsys.readouterr().out
