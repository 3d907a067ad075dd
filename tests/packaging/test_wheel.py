"""The wheel: what is in it, that it works alone, and that NVIDIA's container is left as it is.

These tests ask the package index. ``tox run -e packaging`` runs them, in an environment of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.helpers.paths import ROOT

CONTAINER_PINS = ["torch<=2.9.0", "transformers==4.57.1", "numpy<2"]
"""What TensorRT-LLM 1.2 pins of the libraries this project could touch."""
PATIENCE = {"UV_HTTP_TIMEOUT": "120", "UV_HTTP_CONNECT_TIMEOUT": "60", "UV_HTTP_RETRIES": "10"}
"""With the package index, which these tests ask."""


def uv(*arguments: str, cwd: Path) -> str:
    """Run uv; its output, or its whole complaint as the test's failure."""
    done = subprocess.run(
        [find_uv_bin(), *arguments],
        cwd=cwd,
        env={**os.environ, **PATIENCE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--out-dir", str(folder), cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


def test_shipped_scenarios_travel_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "suites").rglob("*.yaml")}
    assert len(shipped) >= 51
    assert {f"pytest_dsr1/{name}" for name in shipped} <= names
    assert {"pytest_dsr1/py.typed", "pytest_dsr1/suites/scenario.schema.json"} <= names
    assert "pytest_dsr1/workload/data/questions.jsonl" in names
    assert {f"pytest_dsr1/reporting/html/templates/{name}" for name in ("report.html", "style.css")} <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_documentation_travels_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"docs/style.md"}
    examples = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "how-to" / "ci").iterdir()}
    assert {f"pytest_dsr1/{name}" for name in pages | examples} <= names
    assert not [name for name in names if name.endswith(".png") or "pictures" in name]


def test_the_wheel_works_in_an_empty_environment_and_folder(wheel: Path, tmp_path: Path) -> None:
    environment, empty = tmp_path / ".venv", tmp_path / "empty"
    empty.mkdir()
    uv("venv", "--python", sys.executable, str(environment), cwd=tmp_path)
    python = environment / "bin" / "python"
    uv("pip", "install", "--python", str(python), str(wheel), cwd=tmp_path)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        [python, "-m", "pytest", "--dsr1-profile=h200-max-throughput", "--collect-only", "-q"],
        cwd=empty,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stdout.splitlines() if "::" in line][:2] == [
        "suites/h200/max-throughput.yaml::environment",
        "suites/h200/max-throughput.yaml::target[total_output_throughput]",
    ]
    program = [str(environment / "bin" / "pytest-dsr1"), "docs", "why-low#sm-clock"]
    done = subprocess.run(program, cwd=empty, env=clean, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("## A clock under its maximum\n"), done.stderr
    # The transformers engine is an extra: without it the run says what to install.
    done = subprocess.run(
        [python, "-m", "pytest", "--dsr1-profile=cpu-min-latency"],
        cwd=empty,
        env={**clean, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 10, done.stdout
    assert "pip install 'pytest-dsr1[transformers]'" in done.stdout


def test_nvidias_container_is_left_as_it_is(wheel: Path, tmp_path: Path) -> None:
    """Resolved against its pins there is a solution, and nothing pinned is brought in or moved."""
    (tmp_path / "pins.txt").write_text("\n".join(CONTAINER_PINS), encoding="utf-8")
    (tmp_path / "in.txt").write_text(f"pytest-dsr1 @ {wheel.as_uri()}\nnumpy<2\n", encoding="utf-8")
    arguments = ["pip", "compile", "-q", "--no-header", "--no-annotate", "-c", "pins.txt", "in.txt"]
    resolved = uv(*arguments, "--python-version", "3.12", cwd=tmp_path)
    chosen = dict(line.split("==") for line in resolved.split() if "==" in line)
    assert chosen["numpy"].startswith("1.")
    assert not {"torch", "transformers", "tensorrt-llm"} & set(chosen)
    assert {"pytest", "pytest-benchmark", "pyyaml", "pydantic", "nvidia-ml-py"} <= set(chosen)
