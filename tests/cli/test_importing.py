from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from pytest_dsr1.cli.main import main
from tests.helpers.imports import PERF_SANITY

SMALL = """\
server_configs:
  - name: a
    model_name: deepseek_r1_0528_fp8
    tensor_parallel_size: 8
    client_configs: [{concurrency: 4, iterations: 5}]
  - {name: b, model_name: gpt_oss_120b_fp4, client_configs: [{}]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b200.yaml").write_text(SMALL, encoding="utf-8")
    return tmp_path


def test_a_file_is_imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "b200.yaml", "--commit", "0123abc"]) == 0
    assert capsys.readouterr().out == (
        "b200.yaml: 1 case: not imported: other models (gpt_oss_120b_fp4)\n"
        "b200.yaml:2: imported as b200-a\n"
        "1 scenario in imported: pytest --dsr1-suites=imported --dsr1-list\n"
    )
    written = yaml.safe_load((folder / "imported" / "b200-a.yaml").read_text())
    assert written["source"]["document"] == "b200.yaml: perf-sanity case a"
    assert written["source"]["commit"] == "0123abc"


def test_a_folder_is_imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(PERF_SANITY), "--out", "own"]) == 0
    assert capsys.readouterr().out.endswith("32 scenarios in own: pytest --dsr1-suites=own --dsr1-list\n")
    assert len(list((folder / "own").iterdir())) == 32


MASTER = """\
mine:
  {model: deepseek-ai/DeepSeek-R1-0528, model-prefix: dsr1, runner: h200, precision: fp8, framework: trt,
   scenarios: {fixed-seq-len: [
     {isl: 1024, osl: 1024, search-space: [{tp: 8, conc-start: 4, conc-end: 16}, {tp: 4, conc-list: [8]}]},
     {isl: 8192, osl: 1024, search-space: [{tp: 8, conc-list: [4]}]}
   ]}}
"""


def test_a_search_space_is_imported_as_a_sweep(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    (pytester.path / "master.yaml").write_text(MASTER, encoding="utf-8")
    assert main(["import", "master.yaml"]) == 0
    assert capsys.readouterr().out == (
        "master.yaml:1: imported as mine-1024x1024, 4 points\n"
        "master.yaml:1: imported as mine-8192x1024, 1 point\n"
        "2 scenarios in imported: pytest --dsr1-suites=imported --dsr1-list\n"
    )
    result = pytester.runpytest("--dsr1-suites=imported", "--dsr1-profile=mine-1024x1024", "--dsr1-plan")
    said = ("# sweep: ", "# point: ", "# machine: ", "# warning: ")
    lines = [line for line in result.outlines if line.startswith(said)]
    sweep = "# sweep: mine-1024x1024, 4 points, 2 engine starts, the time of 4 points is unknown"
    on_eight = "# machine: 8 x NVIDIA H200"
    assert lines == [
        *(sweep, "# point: tp8-ep1-c4", on_eight),
        *(sweep, "# point: tp8-ep1-c8", on_eight),
        *(sweep, "# point: tp8-ep1-c16", on_eight),
        *(sweep, "# point: tp4-ep1-c8", "# machine: 4 x NVIDIA H200"),
        "# warning: imported/mine-1024x1024.yaml:15: hardware.count: the point uses 4 of these GPUs; "
        "4 stay idle",
    ]


def test_a_second_import_needs_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "b200.yaml"]) == 0
    (folder / "b200.yaml").write_text(SMALL.replace("concurrency: 4", "concurrency: 9"), encoding="utf-8")
    capsys.readouterr()
    assert main(["import", "b200.yaml"]) == 1
    assert capsys.readouterr().err == (
        "nothing was written (--force overwrites):\n  imported/b200-a.yaml: exists already\n"
    )
    written = folder / "imported" / "b200-a.yaml"
    assert yaml.safe_load(written.read_text())["load"]["concurrency"] == 4
    assert main(["import", "b200.yaml", "--force"]) == 0
    assert yaml.safe_load(written.read_text())["load"]["concurrency"] == 9


def test_after_a_mistake_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "z.yaml").write_text("a: [", encoding="utf-8")
    (folder / "y.yaml").write_text(
        SMALL.replace("tensor_parallel_size: 8", "max_seq_len: x"), encoding="utf-8"
    )
    assert main(["import", "."]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    first, second, third = output.err.splitlines()
    assert first == ".: 2 mistakes; nothing was written"
    assert second == (
        "  y.yaml:4:18: server_configs.0.max_seq_len: expected a whole number of at least 1, found the text "
        "'x'"
    )
    assert third.startswith("  z.yaml:1:5: not valid YAML: ")
    assert not (folder / "imported").exists()


def test_an_import_without_a_run_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b200.yaml").write_text("test_cases: []", encoding="utf-8")
    assert main(["import", "b200.yaml"]) == 1
    output = capsys.readouterr()
    assert output.out == (
        "b200.yaml: not imported: it is of the older style with `test_cases`, which says only a part of the "
        "server's options; import a file of perf-sanity/aggregated/ instead\n"
    )
    assert output.err == "b200.yaml: there is no run to import; nothing was written\n"


def test_the_commit_of_a_checkout_is_that_of_the_unchanged_file(folder: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.com")
        done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (folder / "in").mkdir()
    (folder / "b200.yaml").rename(folder / "in" / "b200.yaml")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "x")

    def source() -> dict[str, str]:
        assert main(["import", "in", "--force"]) == 0
        scenario = yaml.safe_load((folder / "imported" / "b200-a.yaml").read_text())
        return dict(scenario["source"])

    found = source()
    assert (found["document"], found["commit"]) == (
        "in/b200.yaml: perf-sanity case a",
        git("rev-parse", "HEAD"),
    )
    (folder / "in" / "b200.yaml").write_text(SMALL + "# changed\n", encoding="utf-8")
    assert "commit" not in source()


def test_a_program_that_a_checkout_names_does_not_run(folder: Path) -> None:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\ntouch {folder}/ran\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "b200.yaml")
    git("-c", "user.name=me", "-c", "user.email=me@example.com", "commit", "-qm", "x")
    (folder / ".gitattributes").write_text("*.yaml filter=own\n", encoding="utf-8")
    git("config", "core.fsmonitor", str(program))
    git("config", "filter.own.clean", str(program))
    os.utime(folder / "b200.yaml", (0, 0))  # so git looks at its content
    assert main(["import", "b200.yaml"]) == 0
    scenario = yaml.safe_load((folder / "imported" / "b200-a.yaml").read_text())
    assert scenario["source"]["commit"] == git("rev-parse", "HEAD")

    # Of a partial clone git fetches a missing object, with the program that answers for the remote.
    tree = git("rev-parse", "HEAD^{tree}")
    (folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    git("config", "core.repositoryformatversion", "1")
    for key, value in {"url": str(folder), "promisor": "true", "uploadpack": str(program)}.items():
        git("config", f"remote.origin.{key}", value)
    git("config", "extensions.partialClone", "origin")
    assert main(["import", "b200.yaml", "--force"]) == 0
    scenario = yaml.safe_load((folder / "imported" / "b200-a.yaml").read_text())
    assert "commit" not in scenario["source"]
    assert not (folder / "ran").exists()


def test_the_plan_of_an_imported_scenario_has_the_server_and_its_options(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSR1_MODELS", "/models")
    text = SMALL.replace("    client_configs: [{c", "    attn_backend: TRTLLM\n    client_configs: [{c")
    pytester.path.joinpath("b200.yaml").write_text(text, encoding="utf-8")
    assert main(["import", "b200.yaml"]) == 0
    result = pytester.runpytest("--dsr1-suites=imported", "--dsr1-profile=b200-a", "--dsr1-plan")
    result.stdout.fnmatch_lines(
        [
            "# machine: 8 x NVIDIA B200",
            "# load: 20 requests of random tokens, 1,024 tokens in and 1,024 out, 4 in flight, streamed",
            '# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528" * '
            "--tp_size 8 "
            "--extra_llm_api_options extra_llm_api_options.yaml",
            "# attn_backend: TRTLLM",
            "pytest --dsr1-profile=b200-a --dsr1-suites=imported",
        ]
    )
