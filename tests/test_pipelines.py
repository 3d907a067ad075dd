"""The example pipelines: valid by their schemas, and every command in them is understood."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy  # noqa: F401, ICN001 - cannot be imported once more when pytester forgets modules
import pytest
import scipy.special  # noqa: F401 - for the same reason

from tests.helpers.commands import assert_understood
from tests.helpers.paths import DOCS

FOLDER = DOCS / "how-to" / "ci"
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
        ("github.yml", ["pytest"]),
        ("gitlab-ci.yml", ["pytest"]),
        ("Jenkinsfile", ["pytest"]),
    ],
)
def test_every_command_is_understood(pytester: pytest.Pytester, name: str, expected: list[str]) -> None:
    found = commands(name)
    assert [program for program, *_ in found] == expected
    for program, *arguments in found:
        assert_understood(pytester, program, arguments, set())


def test_what_is_written_is_kept() -> None:
    """Each file that a command writes is one of the artifacts."""
    for name in (*SCHEMAS, "Jenkinsfile"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        for file in re.findall(r"(?:--dsr1-report|--junitxml)=(\S+)", text):
            later = text.partition(file)[2]
            assert file in later or f"{Path(file).stem}.*" in later, (name, file)
