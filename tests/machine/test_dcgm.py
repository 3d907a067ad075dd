"""DCGM's short diagnosis: a stand-in program prints what a real one would."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.machine import dcgm
from pytest_dsr1.machine.dcgm import Diagnosis, short_diagnosis

PASSED = """\
Successfully ran diagnostic for group.
+---------------------------+------------------------------------------------+
| Diagnostic                | Result                                         |
+===========================+================================================+
|-----  Deployment  --------+------------------------------------------------|
| Denylist                  | Pass                                           |
| NVML Library              | Pass                                           |
| Environment Variables     | Pass                                           |
| Page Retirement/Row Remap | Skip                                           |
+---------------------------+------------------------------------------------+
"""


@pytest.fixture(autouse=True)
def _afresh() -> None:
    dcgm._diagnosis.cache_clear()


def installed(folder: Path, script: str) -> dict[str, str]:
    """Return an environment in which `dcgmi` is this shell script."""
    program = folder / "dcgmi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def prints(text: str) -> str:
    return f"cat <<'END'\n{text}END"


def test_without_dcgm_there_is_none(tmp_path: Path) -> None:
    assert short_diagnosis({"PATH": str(tmp_path)}) is None


def test_what_passed_is_counted(tmp_path: Path) -> None:
    assert short_diagnosis(installed(tmp_path, prints(PASSED))) == Diagnosis("3 tests passed")


def test_the_diagnosis_of_level_1_is_asked_for(tmp_path: Path) -> None:
    environ = installed(tmp_path, f'echo "$@" > {tmp_path}/arguments')
    short_diagnosis(environ)
    assert (tmp_path / "arguments").read_text() == "diag -r 1\n"


def test_it_runs_once_for_all_scenarios(tmp_path: Path) -> None:
    environ = installed(tmp_path, f"echo run >> {tmp_path}/runs; {prints(PASSED)}")
    assert short_diagnosis(environ) == short_diagnosis(environ) == Diagnosis("3 tests passed")
    assert (tmp_path / "runs").read_text() == "run\n"


def test_what_failed_is_named(tmp_path: Path) -> None:
    failed = PASSED.replace("Pass ", "Fail ", 2)
    found = short_diagnosis(installed(tmp_path, prints(failed) + "\nexit 226"))
    assert found == Diagnosis("failed", ("failed: Denylist, NVML Library",))
    dcgm._diagnosis.cache_clear()
    rows = "".join(f"| Test {number} | Fail |\n" for number in range(5))
    found = short_diagnosis(installed(tmp_path, prints(rows)))
    assert found == Diagnosis("failed", ("failed: Test 0, Test 1, Test 2 and 2 more",))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "echo; echo 'Error: unable to connect to the host engine'; exit 255",
            "Error: unable to connect to the host engine",
        ),
        ("exit 1", "no output"),
    ],
)
def test_a_diagnosis_that_does_not_run_is_no_failure(tmp_path: Path, script: str, why: str) -> None:
    assert short_diagnosis(installed(tmp_path, script)) == Diagnosis(f"not run: {why}")


def test_a_diagnosis_that_hangs_or_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcgm, "TIMEOUT_S", 0.2)
    assert short_diagnosis(installed(tmp_path, "exec sleep 60")) == Diagnosis(
        "not run: no answer within 0.2 s"
    )
    environ = installed(tmp_path, "")
    dcgm._diagnosis.cache_clear()
    (tmp_path / "dcgmi").write_bytes(b"\x7fELF")
    assert short_diagnosis(environ) == Diagnosis("not run: Exec format error")
