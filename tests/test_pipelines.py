"""The example pipelines, valid by their schemas and with commands that are understood; and our own gate."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy  # noqa: F401, ICN001 - cannot be imported once more when pytester forgets modules
import pytest
import scipy.special  # noqa: F401 - for the same reason

from pytest_dsr1.session import options
from tests.helpers.commands import assert_understood
from tests.helpers.paths import DOCS, ROOT

FOLDER = DOCS / "how-to" / "ci"
KEPT = Path("/srv/pytest-dsr1")
"""A folder of the host in which files outlive a job."""
ALL = {"github.yml": "  schedule:", "gitlab-ci.yml": '== "schedule"', "Jenkinsfile": "'TimerTrigger'"}
"""The pipelines, each with what starts it by a clock."""
SCHEMAS = {"github.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


def check(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """The schemas come with check-jsonschema; nothing is downloaded."""
    arguments = ["--builtin-schema", schema, str(path)]
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.needs("check_jsonschema")
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_holds(name: str) -> None:
    done = check(FOLDER / name, SCHEMAS[name])
    assert done.returncode == 0, done.stdout


@pytest.mark.needs("check_jsonschema")
@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("github.yml", "runs-on:", "run-on:"), ("gitlab-ci.yml", "when: always", "when: sometimes")],
)
def test_the_schema_sees_a_mistake(tmp_path: Path, name: str, right: str, wrong: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(text.replace(right, wrong), encoding="utf-8")
    assert check(tmp_path / name, SCHEMAS[name]).returncode == 1


def commands(name: str) -> list[list[str]]:
    """Every command line of a file, with what continues it."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    text = re.sub(r"\s*\\\n\s*|\n\s+(?=--)", " ", text)  # continued by a backslash, or by YAML's folding
    return [shlex.split(found) for found in re.findall(r"\bpytest(?:-dsr1)? --.*", text)]


@pytest.mark.needs("jinja2", "vl_convert")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("github.yml", ["pytest", "pytest"]),
        ("gitlab-ci.yml", ["pytest", "pytest"]),
        ("Jenkinsfile", ["pytest", "pytest"]),
    ],
)
def test_every_command_is_understood(pytester: pytest.Pytester, name: str, expected: list[str]) -> None:
    found = commands(name)
    assert [program for program, *_ in found] == expected
    for program, *arguments in found:
        assert_understood(pytester, program, arguments, set())


@pytest.mark.parametrize(("name", "schedule"), ALL.items())
def test_a_schedule_records_outside_the_workspace(
    pytester: pytest.Pytester, name: str, schedule: str
) -> None:
    """A checkout empties the workspace, and with it the history of a job that keeps it there."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert schedule in text
    modes = []
    for _, *arguments in commands(name):
        config = pytester.parseconfig(*arguments)
        modes.append(options.mode(config))
        assert Path(config.getoption("--dsr1-results")) == KEPT / "results"
        if modes[-1] == "record":
            assert options.store(config) == KEPT / "references"
    assert sorted(map(str, modes)) == ["gate", "record"]


@pytest.mark.parametrize("name", ALL)
def test_the_wheel_is_of_this_version(name: str) -> None:
    """No index has the package: a name without a place would be somebody else's."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"$', project, re.MULTILINE)
    wheel = f"{KEPT}/pytest_dsr1-{version}-py3-none-any.whl[report]"
    assert re.findall(r"pip install (.*)", text) == [f"'{wheel}'"]


def test_what_is_written_is_kept() -> None:
    """Each file that a command writes is one of the artifacts."""
    for name in (*SCHEMAS, "Jenkinsfile"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        for file in re.findall(r"(?:--dsr1-report|--junitxml)=(\S+)", text):
            later = text.partition(file)[2]
            assert file in later or f"{Path(file).stem}.*" in later, (name, file)


_TOX = """\
#!/bin/bash
echo "tox $*"
[[ "$*" != *"-e slurm" || -e can-run-slurm ]] || { echo "need cgroup v1's freezer"; exit 1; }
"""
_PYTHON = """\
#!/bin/bash
[ "$1 $2" != "-m venv" ] || cp -r venv "$3"
[ "$1" != -c ] || echo "12 $0"
"""
_NOT_RUN = ["lowest", "oldest", "newest"]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder with our gate, of which each program only says its name; there is one Python, 3.12."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".tox").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    for name, text in {
        "venv/bin/tox": _TOX,
        "venv/bin/pip": "#!/bin/bash",
        "programs/python3": _PYTHON,
        "programs/python3.12": _PYTHON,
        **dict.fromkeys(("programs/dpkg", "programs/ln"), "#!/bin/bash"),
    }.items():
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
    for tool in ("bash", "cat", "cp", "dirname", "head", "rm", "seq", "tail"):
        (tmp_path / "programs" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def run_gate(gate: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": str(gate / "programs"), "HOME": str(gate)}
    return subprocess.run(
        ["bash", ".ci/run"], cwd=gate, env=environ, capture_output=True, text=True, check=False
    )


def test_our_gate_fails_where_slurm_cannot_run(gate: Path) -> None:
    done = run_gate(gate)
    assert done.returncode == 1, done
    assert "tox run -e slurm\nneed cgroup v1's freezer\n" in done.stdout
    assert done.stderr == "failed: slurm, for the reason above; it is needed here, so it cannot be left out\n"
    assert "tox run -e coverage" not in done.stdout


def test_our_gate_names_what_it_could_not_run(gate: Path) -> None:
    """Versions of Python that are not installed are no failure."""
    (gate / "can-run-slurm").touch()
    done = run_gate(gate)
    assert done.returncode == 0, done
    last = done.stdout[done.stdout.index("tox run -e coverage") :].splitlines()[1:]
    assert [line.split(":")[:2] for line in last] == [["not run", f" {name}"] for name in _NOT_RUN]
