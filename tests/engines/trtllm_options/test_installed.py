from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_dsr1.engines.trtllm_options import installed
from pytest_dsr1.engines.trtllm_options.installed import installed_version, offered_options
from tests.standins.trtllm_bench.install import install

HELP = """Usage: trtllm-bench throughput [OPTIONS]

Options:
  --engine_dir PATH               Path to a serialized engine, see --model.
  --config, --extra_llm_api_options TEXT
                                  Path to a YAML file; --not_an_option.
  Request Load Control Options: [mutually_exclusive]
    --concurrency INTEGER         Desired concurrency.
  --enable_chunked_context / --disable_chunked_context
                                  Whether to enable chunked prefill.
  -m, --modality [image|video]    - none of it
"""


@pytest.fixture(autouse=True)
def no_memory() -> None:
    installed._version_in.cache_clear()


def program(folder: Path, first_line: str) -> str:
    path = folder / "trtllm-bench"
    path.write_text(f"{first_line}\n")
    path.chmod(0o755)
    return str(folder)


def test_declared_options_are_found_and_mentioned_ones_are_not() -> None:
    assert offered_options(HELP) == {
        "--engine_dir",
        "--config",
        "--extra_llm_api_options",
        "--concurrency",
        "--enable_chunked_context",
        "--disable_chunked_context",
        "--modality",
    }


def test_version_of_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "1.2.1")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert installed_version(["srun", "trtllm-bench"], str(tmp_path / "bin"), "trtllm-bench") == "1.2.1"


def test_no_version_where_there_is_none(tmp_path: Path) -> None:
    assert installed_version(["trtllm-bench"], str(tmp_path), "trtllm-bench") is None


def interpreter(folder: Path, body: str) -> str:
    """Another Python: a script with a given answer."""
    path = folder / "python3.99"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_version_of_the_environment_beside_the_program(tmp_path: Path) -> None:
    python = interpreter(tmp_path, "echo 1.3.0rc5")
    assert (
        installed_version(["trtllm-bench"], program(tmp_path, f"#!{python} -s"), "trtllm-bench") == "1.3.0rc5"
    )


def test_an_environment_without_the_package(tmp_path: Path) -> None:
    python = interpreter(tmp_path, "exit 1")
    assert installed_version(["trtllm-bench"], program(tmp_path, f"#!{python}"), "trtllm-bench") is None


def test_env_finds_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter(tmp_path, "echo 1.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (
        installed_version(["trtllm-bench"], program(tmp_path, "#!/usr/bin/env python3.99"), "trtllm-bench")
        == "1.1.0"
    )


@pytest.mark.parametrize(
    "first", ["#!/bin/sh", "\x7fELF", "", "#!/no/such/python", f"#!{sys.executable}", '#!"']
)
def test_other_programs_say_nothing_of_another_environment(tmp_path: Path, first: str) -> None:
    assert installed_version(["trtllm-bench"], program(tmp_path, first), "trtllm-bench") is None


def test_a_pipe_with_the_programs_name_is_not_waited_for(tmp_path: Path) -> None:
    path = Path(program(tmp_path, "#!/bin/sh")) / "trtllm-bench"
    path.unlink()
    os.mkfifo(path, 0o755)
    assert installed_version(["trtllm-bench"], str(path.parent), "trtllm-bench") is None
