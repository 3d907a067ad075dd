"""The command that starts each kind of server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.server import command as command_module
from pytest_dsr1.engines.openai.server.command import LaunchCommand, launch_command
from pytest_dsr1.engines.openai.server.reuse import ServerPool
from pytest_dsr1.errors import EngineError, UserError
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.openai_jobs import make_job
from tests.helpers.values import scenario
from tests.helpers.watcher import Watcher
from tests.standins.trtllm_serve import install


@pytest.mark.parametrize(
    ("server", "options", "expected"),
    [
        (
            "trtllm-serve",
            {"tp": 8, "ep": 2, "gpu_memory_fraction": 0.8},
            "--tp_size 8 --ep_size 2 --kv_cache_free_gpu_memory_fraction 0.8",
        ),
        (
            "vllm",
            {"tp": 8, "max_batch_size": 4, "max_seq_len": 99},
            "--tensor-parallel-size 8 --max-num-seqs 4 --max-model-len 99",
        ),
        ("vllm", {"tp": 8, "ep": 8}, "--tensor-parallel-size 8 --enable-expert-parallel"),
        ("vllm", {"tp": 8, "ep": 1}, "--tensor-parallel-size 8"),
        ("sglang", {"tp": 8, "ep": 2, "max_seq_len": 99}, "--tp-size 8 --ep-size 2 --context-length 99"),
    ],
)
def test_options_in_each_servers_terms(server: str, options: dict[str, Any], expected: str) -> None:
    engine = {"type": "openai", "server": server, "arguments": ["--extra"], **options}
    command = launch_command(scenario(model={"name": "m", "path": "/models/r1"}, engine=engine), 8123)
    line = command.shell()
    assert line.endswith(f" {expected} --extra")
    assert "/models/r1" in line
    assert "--port 8123" in line


@pytest.mark.parametrize(
    ("version", "arguments", "command", "said"),
    [
        ("1.0.0rc4", [], None, ["--backend", "pytorch"]),
        ("1.1.0", [], None, ["--backend", "pytorch"]),
        ("1.2.0", [], None, []),
        ("1.10.0", [], None, []),
        ("a build of our own", [], None, []),
        (None, [], None, []),
        ("1.0.0", ["--backend", "tensorrt"], None, ["--backend", "tensorrt"]),
        ("1.0.0", ["--backend=tensorrt"], None, ["--backend=tensorrt"]),
        ("1.0.0", [], ["my-serve"], []),
    ],
)
def test_old_versions_of_trtllm_serve_are_told_to_use_pytorch(
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    arguments: list[str],
    command: list[str] | None,
    said: list[str],
) -> None:
    """1.0.0rc4 starts TensorRT engines otherwise; in 1.2 pytorch is the default."""
    monkeypatch.setattr(command_module, "installed_version", lambda *_: version)
    engine = {"type": "openai", "server": "trtllm-serve", "arguments": arguments, "command": command}
    argv = launch_command(scenario(model={"name": "m", "path": "/m"}, engine=engine), 1).argv
    assert [word for word in argv if "backend" in word or word in {"pytorch", "tensorrt"}] == said


def test_other_servers_are_not_told_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "installed_version", lambda *_: "1.0.0")
    engine = {"type": "openai", "server": "vllm"}
    assert (
        "--backend" not in launch_command(scenario(model={"name": "m", "path": "/m"}, engine=engine), 1).argv
    )


def test_option_that_a_server_lacks() -> None:
    engine = {"type": "openai", "server": "transformers", "tp": 2}
    with pytest.raises(
        UserError, match=r"engine.tp: transformers does not have this option; .*engine.arguments"
    ):
        launch_command(scenario(model={"name": "m", "path": "/m"}, engine=engine), 1)


def test_vllm_has_no_width_of_expert_parallelism() -> None:
    engine = {"type": "openai", "server": "vllm", "tp": 8, "ep": 2}
    with pytest.raises(UserError, match=r"engine.ep: vllm .* expected 8 or 1, found 2; with data parallel"):
        launch_command(scenario(model={"name": "m", "path": "/m"}, engine=engine), 1)


OPTIONS = {
    "enable_attention_dp": True,
    "cuda_graph_config": {"enable_padding": True, "max_batch_size": 128},
    "moe_config": {"backend": "DEEPGEMM"},
    "kv_cache_config": {"dtype": "fp8", "enable_block_reuse": False, "free_gpu_memory_fraction": 0.8},
    "speculative_config": {"decoding_type": "MTP", "max_draft_len": 1},
    "stream_interval": 10,
}


def served(**engine: Any) -> Scenario:
    """A scenario on trtllm-serve with an options file."""
    return scenario(
        model={"name": "deepseek-ai/DeepSeek-R1", "path": "/models/r1"},
        engine={"type": "openai", "server": "trtllm-serve", "streaming": False, "llm_api": OPTIONS, **engine},
    )


def of_version(monkeypatch: pytest.MonkeyPatch, version: str | None, **engine: Any) -> LaunchCommand:
    monkeypatch.setattr(command_module, "installed_version", lambda *_: version)
    return launch_command(served(**engine), 8123)


@pytest.mark.parametrize(
    ("version", "option", "drafts"),
    [
        ("1.0.0", "--extra_llm_api_options", "num_nextn_predict_layers"),
        ("1.2.1", "--extra_llm_api_options", "num_nextn_predict_layers"),
        ("1.3.0", "--config", "max_draft_len"),
        ("1.4.0rc1", "--config", "max_draft_len"),
    ],
)
def test_trtllm_serve_gets_its_options_in_a_file(
    monkeypatch: pytest.MonkeyPatch, version: str, option: str, drafts: str
) -> None:
    command = of_version(monkeypatch, version, arguments=["--log_level", "info"])
    assert command.argv[-4:] == [option, "extra_llm_api_options.yaml", "--log_level", "info"]
    speculative = {"decoding_type": "MTP", drafts: 1}
    assert command.options == {**OPTIONS, "speculative_config": speculative}


def test_the_dialect_of_the_file_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    command = of_version(monkeypatch, "1.4.0rc1", dialect="1.2")
    assert command.options["speculative_config"]["num_nextn_predict_layers"] == 1
    assert command.because == "# dialect 1.2, from engine.dialect; TensorRT-LLM 1.4.0rc1 is installed"


def test_without_options_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    command = of_version(monkeypatch, "1.2.1", llm_api={})
    assert (command.argv[-1], command.options, command.because) == ("8123", {}, "")


def test_a_file_of_the_same_name_where_pytest_started_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "extra_llm_api_options.yaml").touch()
    assert of_version(monkeypatch, "1.2.1").argv[-1] == "extra_llm_api_options.yaml"


def test_an_option_that_the_version_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"attention_dp_config": {"timeout_iters": 60}}
    with pytest.raises(UserError) as caught:
        of_version(monkeypatch, "1.0.0", llm_api=options)
    assert str(caught.value) == (
        "small: TensorRT-LLM 1.0 does not have engine.llm_api.attention_dp_config.timeout_iters (available "
        "since 1.1); remove it from the scenario or use a newer TensorRT-LLM; if the detected version is "
        "wrong, set engine.dialect to the right one"
    )


def test_a_version_that_is_newer_than_all_dialects_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = (
        "TensorRT-LLM 1.9.0 is newer than the newest version that this plugin knows (1.4); the option names "
        "of 1.4 were used"
    )
    assert newer in of_version(monkeypatch, "1.9.0").warnings
    assert newer not in of_version(monkeypatch, "1.9.0", dialect="1.4").warnings


@pytest.mark.parametrize("options", [OPTIONS, {}])
def test_what_is_left_open_in_this_version_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    warnings = of_version(monkeypatch, "1.4.0rc1", llm_api=options).warnings
    assert any(one.startswith("num_serve_frontends is not pinned, and differs") for one in warnings)
    assert of_version(monkeypatch, "1.2.1", llm_api=options).warnings == ()
    assert of_version(monkeypatch, "a build of our own", llm_api={}).warnings == ()


def test_of_a_file_that_we_did_not_write_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_version(monkeypatch, "1.4.0rc1", llm_api={}, arguments=["--config=mine.yaml"]).warnings == ()


def test_the_plan_shows_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command_module, "installed_version", lambda *_: "1.3.0")
    of = served(llm_api={"moe_config": {"backend": "DEEPGEMM"}})
    assert OpenAiEngine().script(make_job(tmp_path, of)) == (
        "# TensorRT-LLM 1.3.0 (installed), dialect 1.3.0rc27 (read)\n"
        "# pytest-dsr1 starts and stops this server: trtllm-serve /models/r1 --host 127.0.0.1 --port 8000 "
        "--config extra_llm_api_options.yaml\n"
        "# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'\n"
        "# moe_config:\n"
        "#   backend: DEEPGEMM\n"
        "# DSR1_OPTIONS\n"
        "# warning: kv_cache_config.use_kv_cache_manager_v2 is not pinned, and differs between 1.2 and "
        "the installed version 1.3.0: off before 1.3, chosen by the model since; effect: another manager of "
        "the KV cache\n"
        "pytest --dsr1-profile=small\n"
    )


def test_the_script_of_the_server_writes_the_file(tmp_path: Path) -> None:
    options = {"print_iter_log": True, "moe_config": {"backend": "it's $HOME"}}
    script = LaunchCommand(["cat", "extra_llm_api_options.yaml"], {}, options=options).script()
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert yaml.safe_load(done.stdout) == options


def test_other_options_need_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept server fits only a scenario with the same options file."""
    monkeypatch.setattr(command_module, "installed_version", lambda *_: "1.2.1")
    assert launch_command(served(), 0) == launch_command(served(), 0)
    assert launch_command(served(), 0) != launch_command(served(llm_api={"print_iter_log": True}), 0)


@pytest.mark.usefixtures("client_unjudged")
@pytest.mark.parametrize("version", ["1.0.0", "1.2.1", "1.4.0rc1"])
def test_a_run_with_a_strict_trtllm_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "trt", version)), prepend=":")
    job = make_job(tmp_path, served(tp=8, max_batch_size=128))
    result = OpenAiEngine().run(job, Watcher())
    assert [record.error for record in result.records] == [None] * 4
    command = launch_command(job.scenario, 0)
    assert command.because.startswith(f"# TensorRT-LLM {version} (installed)")
    assert yaml.safe_load((job.artifacts / "extra_llm_api_options.yaml").read_text()) == command.options
    assert "DSR1_OPTIONS" in (job.artifacts / "server.sh").read_text()


@pytest.mark.usefixtures("client_unjudged")
def test_a_refused_option_names_the_dialect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(install(tmp_path / "trt", "1.2.1")), prepend=":")
    job = make_job(tmp_path, served(llm_api={"unchecked": {"attn_backnd": "TRTLLM"}}))
    with pytest.raises(EngineError) as caught:
        OpenAiEngine(ServerPool()).run(job, Watcher())
    assert (
        str(caught.value)
        .splitlines()[0]
        .startswith(
            "small: the server ended with exit status 1: it rejects the option `attn_backnd` of "
            'extra_llm_api_options.yaml, written in dialect 1.2 (read); try engine.dialect: "1.3"'
        )
    )
