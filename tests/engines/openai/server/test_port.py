"""The port of a server that we start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.server import port
from pytest_dsr1.engines.openai.server.command import Program
from pytest_dsr1.engines.openai.server.port import can_choose, program_of, reported
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.errors import EngineError
from tests.helpers.nodes import on_two_nodes
from tests.helpers.openai_jobs import make_job
from tests.helpers.values import scenario
from tests.helpers.waiting import ever_longer, written
from tests.helpers.watcher import Watcher
from tests.standins import srun
from tests.standins.trtllm_serve import install


def chooses_in(job: Job) -> bool:
    return can_choose(OpenAi.of(job.scenario), program_of(job, Watcher()))


ONE = {"num_serve_frontends": 1}


def job_of(folder: Path, **engine: Any) -> Job:
    return make_job(
        folder,
        scenario(
            model={"name": "deepseek-ai/DeepSeek-R1", "path": "/models/r1"},
            engine={"type": "openai", "server": "trtllm-serve", "streaming": False, **engine},
        ),
    )


@pytest.mark.parametrize(
    ("version", "engine", "chooses"),
    [
        ("1.2.1", {}, False),
        ("1.3.0rc5", {}, False),
        ("1.3.0rc27", {}, True),
        ("1.4.0rc1", {}, False),
        ("1.4.0rc1", {"llm_api": ONE}, True),
        ("1.4.0rc1", {"arguments": ["--num_serve_frontends", "1"]}, True),
        ("1.4.0rc1", {"arguments": ["--num_serve_frontends=1"]}, True),
        ("1.4.0rc1", {"arguments": ["--num_serve_frontends", "4"]}, False),
        ("1.3.0rc27", {"arguments": ["--report_addr", "mine"]}, False),
        ("1.3.0rc27", {"arguments": ["--port=8000"]}, False),
        ("1.3.0rc27", {"command": ["trtllm-serve", "{model}", "--port", "{port}"]}, False),
        ("1.3.0rc27", {"server": "vllm"}, False),
    ],
)
def test_a_server_chooses_where_that_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, engine: dict[str, Any], chooses: bool
) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "trt", version)), prepend=":")
    assert chooses_in(job_of(tmp_path, **engine)) is chooses


def test_a_build_of_ones_own_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "trt", "1.3.0rc27")), prepend=":")
    monkeypatch.setattr(port, "program_here", lambda _: Program("our build"))
    assert chooses_in(job_of(tmp_path))


def test_a_program_without_help_gets_a_free_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trtllm-serve").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "trtllm-serve").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert not chooses_in(job_of(tmp_path))


@pytest.mark.usefixtures("client_unjudged")
def test_a_run_at_the_port_that_the_server_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "trt", "1.3.0rc27")), prepend=":")
    job = job_of(tmp_path)
    result = OpenAiEngine().run(job, Watcher())
    assert [record.error for record in result.records] == [None] * 4
    address = reported(job.artifacts / "server.addr")
    assert result.facts.other["url"] == f"http://{address}"
    assert "--port 0 --report_addr server.addr" in (job.artifacts / "server.sh").read_text()


def test_a_server_that_reports_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_dsr1.engines.openai.server.process.can_choose", lambda *_: True)
    (tmp_path / "trtllm-serve").write_text("#!/bin/sh\necho started > pid\nexec sleep 600\n")
    (tmp_path / "trtllm-serve").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for limit_s in ever_longer(0.5, lambda: written(tmp_path, "*/engine/pid")):
        folder = tmp_path / f"{limit_s:g}"
        folder.mkdir()
        with pytest.raises(EngineError) as caught:
            OpenAiEngine().run(job_of(folder, startup_timeout_s=limit_s), Watcher())
    assert str(caught.value).startswith(
        f"small: the server was not ready within {limit_s:g} s (no address in server.addr); if it is only "
        "slow, raise engine.startup_timeout_s"
    )


def test_half_an_address_is_none(tmp_path: Path) -> None:
    path = tmp_path / "server.addr"
    assert reported(path) is None
    path.write_text("127.0.0.1:80")
    assert reported(path) is None
    path.write_text("127.0.0.1:8001\n")
    assert reported(path) == "127.0.0.1:8001"


@pytest.mark.usefixtures("client_unjudged")
@pytest.mark.parametrize("chooses", [True, False])
def test_a_server_over_two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chooses: bool) -> None:
    version = "1.3.0rc27" if chooses else "1.2.1"
    monkeypatch.setenv("PATH", str(srun.install(install(tmp_path / "trt", version))), prepend=":")
    job = on_two_nodes(job_of(tmp_path, tp=8), interface="ib0")
    plan = OpenAiEngine().script(job).splitlines()
    words = (
        "NCCL_SOCKET_IFNAME=ib0 srun --mpi=pmix --nodes=2 --ntasks=8 "
        "--ntasks-per-node=4 --distribution=block --export=ALL --wait=0 --kill-on-bad-exit=1 "
        "--cpu-bind=none --job-name=dsr1-engine --relative=0 sh -c "
    )
    assert plan[0].startswith(f"# pytest-dsr1 starts and stops this server: {words}")
    watcher = Watcher()
    result = OpenAiEngine().run(job, watcher)
    assert [record.error for record in result.records] == [None] * len(result.records)
    script = (job.artifacts / "server.sh").read_text()
    assert script.startswith(words)
    assert ("--report_addr server.addr" in script) is chooses


def test_a_server_in_a_container_is_asked_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "image", "1.3.0rc27")
    monkeypatch.setenv("PATH", str(srun.install(install(tmp_path / "host", "1.2.1"))), prepend=":")
    job = on_two_nodes(job_of(tmp_path, tp=8), srun=[f"--container-image={tmp_path / 'image'}"])
    program = program_of(job, Watcher())
    assert program.version == "1.3.0rc27"
    assert "--report_addr" in program.options
    engine = OpenAi.of(job.scenario).model_copy(update={"llm_api": LlmApiOptions(print_iter_log=True)})
    planned = replace(job, scenario=job.scenario.model_copy(update={"engine": engine}))
    plan = OpenAiEngine().script(planned)
    assert plan.startswith("# newest known dialect 1.3: ")


def test_another_command_in_a_container_is_not_asked(tmp_path: Path) -> None:
    job = on_two_nodes(job_of(tmp_path, command=["mine"]), srun=["--container-image=x"])
    assert program_of(job, Watcher()) == Program(None)
