from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_dsr1.cli import main
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
    assert capsys.readouterr().out == "nothing to put back: no run has left a GPU changed\n"


def test_restore_puts_a_killed_run_back(library: Path, tmp_path: Path) -> None:
    machine = FakeMachine(library, tmp_path, 1)
    environ = machine.environ(os.environ)
    killed = (
        "import os\n"
        "from pytest_dsr1.environment.reading import read_machine\n"
        "from pytest_dsr1.environment.setup import applied\n"
        "from pytest_dsr1.scenario.model import GpuSetup\n"
        "run = applied(GpuSetup(vboost=4), read_machine(os.environ).gpus, os.environ, print)\n"
        "run.__enter__()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", killed], env=environ, check=False)
    assert machine.gpu(0, "vboost") == "4"

    def restore() -> subprocess.CompletedProcess[str]:
        program = "import sys; from pytest_dsr1.cli import main; sys.exit(main(['restore']))"
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    machine.set("smi.permission", 0)
    refused = restore()
    assert refused.returncode == 1
    assert refused.stdout == (
        f"GPU 0 ({machine.uuid(0)}) is not put back to vboost 0: no permission; as root: "
        "nvidia-smi boost-slider -i 0 --vboost 0 or pytest-dsr1 restore\n"
    )
    machine.set("smi.permission", 1)
    done = restore()
    assert done.returncode == 0
    assert done.stdout.startswith(f"{machine.uuid(0)}: put back as it was before the run of 20")
    assert machine.gpu(0, "vboost") == "0"
