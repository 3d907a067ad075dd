"""Disaggregated servers: each in a step of its own, behind one that passes requests on; stand-ins of all."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.in_effect import of_saved
from pytest_dsr1.engines.openai.disaggregated import Disaggregated
from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.server.reuse import ServerPool
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.machine import host
from pytest_dsr1.scenario.schema.scenario import Hardware
from pytest_dsr1.scenario.schema.site import Site, Slurm
from tests.helpers.checkpoint import chinese_checkpoint
from tests.helpers.nodes import LEADER, program
from tests.helpers.openai_jobs import make_job
from tests.helpers.paths import ROOT
from tests.helpers.values import scenario
from tests.helpers.watcher import Watcher
from tests.standins import srun, started_server, trtllm_disaggregated
from tests.standins.trtllm_disaggregated import ILLEGAL, RoleHandler
from tests.standins.trtllm_serve import install

CACHE = {"cache_transceiver_config": {"backend": "UCX"}}
SCONTROL = """\
[ "$2" = hostnames ] && printf 'n1\\nn2\\nn3\\n'
[ "$2 $3" = "show node" ] || exit 0
echo "NodeName=n1 Arch=x86_64 NodeAddr=127.0.0.1 State=IDLE"
echo "NodeName=n2 Arch=x86_64 NodeAddr=localhost State=IDLE"
echo "NodeName=n3 Arch=x86_64 NodeAddr=127.0.0.1 State=IDLE"
"""


@pytest.fixture(params=["1.2.1", "1.3.0rc27"], ids=["our ports", "their ports"])
def version(request: pytest.FixtureRequest) -> str:
    """A version of trtllm-serve that takes a port, and one that chooses it."""
    return str(request.param)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs of Slurm, in a job on three nodes; return their folder."""
    folder = srun.install(tmp_path / "slurm")
    program(folder, "scontrol", SCONTROL)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("DSR1_STANDIN_NODES", "n1 n2 n3")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-3]")
    return folder


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "1.2.1") -> None:
    monkeypatch.setenv("PATH", str(install(folder / "trt", version)), prepend=":")


def job_of(
    folder: Path,
    context: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    **engine: Any,
) -> Job:
    """Return a job for two context servers on a GPU each and a generation server on two GPUs."""
    roles = {
        "context": {"servers": 2, "llm_api": CACHE, **(context or {})},
        "generation": {"tp": 2, "llm_api": CACHE, **(generation or {})},
    }
    job = make_job(
        folder,
        scenario(
            model={"name": "deepseek-ai/DeepSeek-R1", "path": "/models/r1"},
            load={"concurrency": 2, "num_requests": 4, "warmup_requests": 1},
            engine={
                "type": "openai",
                "server": "trtllm-serve",
                "streaming": False,
                "disaggregated": roles,
                **engine,
            },
        ),
    )
    hardware = Hardware(gpu="NVIDIA B200", count=4, nodes=3)
    site = Site(slurm=Slurm(launcher=list(LEADER), mpi="none"))
    return replace(job, scenario=job.scenario.model_copy(update={"hardware": hardware}), site=site)


def run(job: Job) -> EngineResult:
    return OpenAiEngine().run(job, Watcher())


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    installed(tmp_path, monkeypatch, version)
    monkeypatch.setenv("UCX_TLS", "tcp")
    job = job_of(tmp_path, generation={"environment": {"DSR1_STANDIN_SAYS": "of generation"}})
    result = run(job)
    assert [(record.error, record.output_tokens) for record in result.records] == [(None, 4)] * 4
    assert [(each.role, each.number, each.nodes, each.gpus) for each in result.facts.roles] == [
        ("generation", 1, ["n1"], 2),
        ("context", 1, ["n2"], 1),
        ("context", 2, ["n3"], 1),
    ]
    for each in result.facts.roles:
        assert (each.running_requests_mean, each.waiting_requests_mean) == (2, 3)
        assert each.kv_cache_used_share_max == 0.25
    generation, *context = result.facts.roles
    assert generation.input_tok_s == 0
    assert generation.output_tok_s
    assert all(each.input_tok_s and each.output_tok_s == 0 for each in context)
    logs = {path.name: path.read_text() for path in job.artifacts.glob("*.log")}
    assert sorted(logs) == ["context-1.log", "context-2.log", "generation-1.log", "server.log"]
    assert "passing on 127.0.0.1" in logs["server.log"] or "passing on localhost" in logs["server.log"]
    assert not [name for name, text in logs.items() if "UCX_TLS" in text]
    assert [name for name, text in logs.items() if "of generation" in text] == ["generation-1.log"]
    script = (job.artifacts / "server.sh").read_text()
    assert script.count("cat > ") == 3  # a file for each role, and that of the front end
    assert "--port 0" not in script
    for name in ("generation.yaml", "context.yaml", "disaggregated.yaml"):
        assert f"cat > {name} " in script
    assert "- 127.0.0.1:8001" in script
    assert "- localhost:8002" in script
    asked = {option.name: option.asked for option in of_saved(result.facts.options_in_effect)}
    assert (asked["tp"], result.facts.options_in_effect["context.tp"]) == (
        2,
        {"in_effect": 1, "read_from": "context-1.log"},
    )


def failure(job: Job) -> str:
    with pytest.raises(EngineError) as caught:
        run(job)
    return str(caught.value)


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_a_server_that_ends_ends_the_run_with_its_role_its_node_and_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch)
    said = failure(job_of(tmp_path, generation={"environment": {"DSR1_STANDIN_DIES_AFTER": "2"}}))
    assert said.startswith("small: generation server 1 on n1 ended with exit status 1: ")
    assert ILLEGAL in said
    assert "generation-1.log" in said


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_a_front_end_that_ends_is_named_with_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch)
    said = failure(job_of(tmp_path, environment={"DSR1_STANDIN_FRONT_ENDS": "2"}))
    assert said.startswith("small: the front end on n1 ended with exit status 3: ")
    assert "server.log" in said


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"disaggregated_params": {"request_type": "generation_only"}}, "ctx_request_id"),
        ({"disaggregated_params": {"request_type": "other"}}, "request_type"),
    ],
)
def test_the_stand_in_refuses_requests_in_a_wrong_order(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], error: str
) -> None:
    handler = RoleHandler.__new__(RoleHandler)
    monkeypatch.setattr(RoleHandler, "backend", "UCX")
    body = json.dumps({"prompt": [1], "max_tokens": 1, **asked}).encode()
    handler.rfile, handler.headers = io.BytesIO(body), {"Content-Length": str(len(body))}  # type: ignore[assignment]
    answers: list[tuple[int, Any]] = []
    monkeypatch.setattr(handler, "answer", lambda status, told: answers.append((status, told)))
    handler.do_POST()
    ((status, told),) = answers
    assert status == 400
    assert error in str(told)


@pytest.mark.usefixtures("slurm")
def test_a_server_that_is_never_ready_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    sick = {"environment": {"DSR1_STANDIN_SICK": "0"}, "servers": 1}
    waits = "srun: Job 7 step creation temporarily disabled, retrying (Requested nodes are busy)"
    says = {"environment": {"DSR1_STANDIN_SAYS": waits}}
    job, watcher = job_of(tmp_path, context=sick, generation=says, startup_timeout_s=3), Watcher()
    with pytest.raises(EngineError) as caught:
        OpenAiEngine().run(job, watcher)
    said, heard = str(caught.value), [" ".join(step) for step in watcher.steps]
    assert any(each.startswith("loading context 1: ") for each in heard)
    assert any(
        each.startswith("starting generation 1: srun waits for another step of job 7") for each in heard
    )
    assert said.startswith("small: context server 1 on n3 was not ready within 3 s (GET http://127.0.0.1:")
    assert "/health: HTTP 503); if it is only slow, raise engine.startup_timeout_s" in said


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_answers_without_a_token_are_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    environment = {"DSR1_STANDIN_NO_TOKENS": "1"}
    said = failure(job_of(tmp_path, environment=environment, exact_output=False))
    assert said.startswith("small: 1 of 1 warm-up requests failed, the first: ")


@pytest.mark.usefixtures("slurm")
def test_an_option_that_a_role_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    context = {"llm_api": {"unchecked": {"no_such_option": 1}, **CACHE}}
    said = failure(job_of(tmp_path, context=context))
    assert re.match(r"small: context server [12] on n[23] ended with exit status 1: it rejects the ", said)
    assert "`no_such_option` of context.yaml" in said


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_the_next_steps_have_the_keys_of_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    cache = {**CACHE, "kv_cache_config": {"free_gpu_memory_fraction": 0.6}}
    environment = {"DSR1_STANDIN_DIES_AFTER": "0", "DSR1_STANDIN_DIES_OF": started_server.NO_MEMORY}
    said = failure(job_of(tmp_path, context={"llm_api": cache, "environment": environment}))
    where = "engine.disaggregated.context"
    assert (
        f"lower {where}.llm_api.kv_cache_config.free_gpu_memory_fraction (now 0.6), "
        f"{where}.max_batch_size or {where}.max_num_tokens"
    ) in said


@pytest.mark.usefixtures("slurm")
def test_a_port_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    with socket.create_server(("0.0.0.0", 0)) as taken:
        monkeypatch.setattr("pytest_dsr1.engines.openai.endpoint._TIMEOUT_S", 0.1)  # it never answers
        job = replace(job_of(tmp_path), free_port=lambda _: int(taken.getsockname()[1]))
        said = failure(job)
    its = r"small: (generation|context) server \d on n\d ended with exit status 1: "
    assert re.match(f"{its}it could not listen at its port, which another process uses", said)


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_each_port_is_free_on_the_node_of_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    asked: list[int] = []

    def free_port(node: int) -> int:
        asked.append(node)
        return host.free_port(node)

    run(replace(job_of(tmp_path), free_port=free_port))
    assert asked == [0, 1, 2, 0]


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_servers_in_a_container(tmp_path: Path) -> None:
    """The program is only in the image, and the scenario's variables win over those of the image."""
    image = tmp_path / "image"
    install(image, "1.1.0")
    (image / "environment").write_text("DSR1_STANDIN_SAYS=of the image\nUCX_TLS=tcp\n")
    of_role = {"DSR1_STANDIN_SAYS": "of the role", "UCX_TLS": "rc"}
    job = job_of(tmp_path, generation={"environment": of_role})
    srun_words = [f"--container-image={image}"]
    job = replace(job, site=Site(slurm=job.site.slurm.model_copy(update={"srun": srun_words})))
    run(job)
    logs = {path.name: path.read_text() for path in job.artifacts.glob("*.log")}
    assert "of the role" in logs["generation-1.log"]
    assert "the way of UCX_TLS" in logs["generation-1.log"]
    assert "of the image" in logs["context-1.log"]
    assert "UCX_TLS" not in logs["context-1.log"]
    script = (job.artifacts / "server.sh").read_text()
    assert "--container-env=DSR1_STANDIN_SAYS,UCX_TLS " in script
    assert "--extra_llm_api_options context.yaml" in script  # 1.1 has no --config


@pytest.mark.usefixtures("slurm")
def test_a_script_of_servers_that_did_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    job = job_of(tmp_path, context={"llm_api": {"unchecked": {"no_such_option": 1}, **CACHE}})
    failure(job)
    script = (job.artifacts / "server.sh").read_text()
    assert "trtllm-serve disaggregated -c disaggregated.yaml" in script


@pytest.mark.usefixtures("slurm")
def test_a_script_writes_the_files_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    job = job_of(tmp_path, context={"llm_api": {"unchecked": {"no_such_option": 1}, **CACHE}})
    failure(job)
    files = [job.artifacts / name for name in ("generation.yaml", "context.yaml")]
    expected = [path.read_text() for path in files]
    for path in files:
        path.unlink()
    program(tmp_path / "trt/bin", "trtllm-serve", "exit 0")
    subprocess.run(["sh", "server.sh"], cwd=job.artifacts, check=False)
    assert [path.read_text() for path in files] == expected


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.usefixtures("slurm")
def test_ctrl_c_ends_all_servers_of_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    installed(tmp_path, monkeypatch)
    job = job_of(tmp_path, context={"llm_api": {"unchecked": {"no_such_option": 1}, **CACHE}})
    failure(job)
    program(tmp_path / "trt/bin", "trtllm-serve", '[ "$1" != disaggregated ] || echo ready; exec sleep 600')
    with subprocess.Popen(
        [shell, "server.sh"], cwd=job.artifacts, stdout=subprocess.PIPE, start_new_session=True
    ) as script:
        try:
            assert script.stdout is not None
            assert script.stdout.readline() == b"ready\n"
            os.killpg(script.pid, signal.SIGINT)
            script.communicate(timeout=30)  # every server holds the other end of the pipe
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)


def test_addresses_that_the_front_end_cannot_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: Path
) -> None:
    installed(tmp_path, monkeypatch)
    program(slurm, "scontrol", SCONTROL.replace("=localhost", "=fd00::2").replace("=127.0.0.1", "=::1"))
    assert failure(job_of(tmp_path)) == (
        "small: expected addresses of IPv4 or names, because trtllm-serve disaggregated takes no others; "
        "Slurm has ::1 of n1 and fd00::2 of n2 and ::1 of n3 (NodeAddr in scontrol show node)"
    )


@pytest.mark.usefixtures("slurm")
def test_without_the_program(tmp_path: Path) -> None:
    assert failure(job_of(tmp_path)) == (
        "small: trtllm-serve is not installed (not found in PATH); install it, or name an image that has it: "
        "--container-image=IMAGE in slurm.srun of the site file"
    )


def test_without_a_job_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert failure(job_of(tmp_path)) == (
        "small: disaggregated servers need a Slurm job of 3 nodes: pytest-dsr1 sbatch small"
    )


def test_slurm_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: Path) -> None:
    installed(tmp_path, monkeypatch)
    program(slurm, "scontrol", "echo 'slurm_load_nodes: Unable to contact slurm controller' >&2; exit 1")
    said = failure(job_of(tmp_path))
    assert said.startswith("small: the nodes of this Slurm job are unknown: scontrol show hostnames ")
    assert said.endswith(": slurm_load_nodes: Unable to contact slurm controller")


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_kept_servers_answer_the_next_scenario_with_a_log_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch)
    pool = ServerPool()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = job_of(tmp_path / "one"), job_of(tmp_path / "two")
    second = replace(second, scenario=second.scenario.model_copy(update={"name": "second"}))
    try:
        OpenAiEngine(pool).run(first, Watcher())
        assert pool.fits(second.scenario)
        result = OpenAiEngine(pool).run(second, Watcher())
        other = job_of_another(second, generation={"tp": 2, "llm_api": CACHE, "max_batch_size": 64})
        assert not pool.fits(other.scenario)
        fewer = job_of_another(second, context={"servers": 1, "llm_api": CACHE})
        assert not pool.fits(fewer.scenario), "each server has the same command"
        longer = OpenAi.of(second.scenario).model_copy(update={"run_timeout_s": 5000.0})
        assert pool.fits(second.scenario.model_copy(update={"engine": longer}))
    finally:
        pool.end()
    assert result.facts.server_kept_from == "small"
    assert (second.artifacts / "generation-1.log").exists()
    assert (second.artifacts / "server.sh").read_text() == (first.artifacts / "server.sh").read_text()


@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_kept_servers_are_all_asked_for_their_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    monkeypatch.setattr("pytest_dsr1.engines.openai.server.reuse._ANSWERS_WITHIN_S", 0.5)
    pool = ServerPool()
    results = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            sick = {"environment": {"DSR1_STANDIN_SICK": "5"}}  # a warm-up request and four others
            results.append(OpenAiEngine(pool).run(job_of(tmp_path / name, generation=sick), Watcher()))
    finally:
        pool.end()
    (warning,) = [each for each in results[1].warnings if "cannot be used" in each]
    assert re.search(
        r"the old one cannot be used: small: generation server 1 on n1 was not ready within 0\.5 s \(GET "
        r"http://127\.0\.0\.1:\d+/health: HTTP 503\); its log: ",
        warning,
    )


def job_of_another(job: Job, **roles: dict[str, Any]) -> Job:
    """Return the job with other options of these roles."""
    engine = OpenAi.of(job.scenario)
    assert engine.disaggregated is not None
    asked = {**engine.disaggregated.model_dump(exclude_none=True), **roles}
    changed = engine.model_copy(update={"disaggregated": Disaggregated.model_validate(asked)})
    return replace(job, scenario=job.scenario.model_copy(update={"engine": changed}))


def test_the_plan_has_each_server_with_its_nodes_and_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch)
    job = job_of(tmp_path, generation={"environment": {"UCX_TLS": "rc"}}, environment={"A": "b"})
    lines = OpenAiEngine().script(job).splitlines()
    starts = [line for line in lines if line.startswith("# pytest-dsr1 starts")]
    common = "--distribution=block --export=ALL --wait=0 --kill-on-bad-exit=1 --cpu-bind=none"
    launcher = 'sh -c \'[ "$SLURM_PROCID" != 0 ] || exec "$@"\' launcher'
    serve = "trtllm-serve /models/r1 --host 0.0.0.0 --port"
    assert starts == [
        "# pytest-dsr1 starts and stops this server: UCX_TLS=rc srun --mpi=none --nodes=1 --ntasks=2 "
        f"--ntasks-per-node=2 {common} --job-name=dsr1-generation-1 --relative=0 {launcher} {serve} 8001 "
        "--tp_size 2 --extra_llm_api_options generation.yaml",
        *(
            "# pytest-dsr1 starts and stops this server: srun --mpi=none --nodes=1 --ntasks=1 "
            f"--ntasks-per-node=1 {common} --job-name=dsr1-context-{number} --relative={number} env -u "
            f"UCX_TLS {launcher} {serve} {8001 + number} --extra_llm_api_options context.yaml"
            for number in (1, 2)
        ),
        "# pytest-dsr1 starts and stops this server: A=b srun --mpi=none --nodes=1 --ntasks=1 --relative=0 "
        "--overlap --export=ALL --cpu-bind=none --wait=0 --job-name=dsr1-front-end trtllm-serve "
        "disaggregated -c disaggregated.yaml -t 3600 -r 7200",
    ]
    assert "# generation server 1, on node 1 of the job:" in lines
    assert "#   - NODE2:8002" in lines
    assert lines[-1] == "pytest --dsr1-profile=small"


ROLES = (
    "context_servers: {num_instances: 1, urls: ['a:1']}, generation_servers: {num_instances: 1, urls: [%s]}"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"hostnam: a, {ROLES % 'b:1'}", "no server has these keys: hostnam"),
        (f"{ROLES % 'b:1'}".replace("urls: [b", "url: [], urls: [b"), "these keys: generation_servers.url"),
        (ROLES % "b:1, c:1", r"Number of hostnames \(2\) should be equal to the number of instances \(1\)"),
        (
            f"backend: pytorch, {ROLES % 'b:1'}".replace("urls: [b", "backend: tensorrt, urls: [b"),
            "Parameter backend is specified both in the top-level and in the generation_servers section",
        ),
    ],
)
def test_the_stand_in_refuses_a_wrong_file(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "disaggregated.yaml"
    path.write_text(f"{{{content}}}", encoding="utf-8")
    with pytest.raises(SystemExit, match=said):
        trtllm_disaggregated.main(["-c", str(path), "-t", "1"])


SERVES = f"""\
[ "$1" = disaggregated ] && {{ shift; exec {sys.executable} -c \
  'import sys; from tests.standins.trtllm_disaggregated import main; main(sys.argv[1:])' "$@"; }}
model=$1; shift
exec {sys.executable} -m transformers.cli.transformers serve "$model" --device cpu "$1" "$2" "$3" "$4"
"""


@pytest.mark.cpu_engine
@pytest.mark.usefixtures("client_unjudged", "slurm")
def test_two_real_servers_answer_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of `transformers serve` stand behind the stand-in that passes requests on, without a KV cache."""
    checkpoint = chinese_checkpoint(tmp_path / "checkpoint")
    programs = tmp_path / "programs"
    programs.mkdir()
    program(programs, "trtllm-serve", SERVES)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "")  # the servers are foreign
    one = {"servers": 1, "llm_api": CACHE}
    theirs = {"streaming": True, "body": {"ignore_eos": None}, "environment": {"DSR1_STANDIN_PLAIN": "1"}}
    job = job_of(tmp_path, one, {"tp": 1, **one}, **theirs)
    model = job.scenario.model.model_copy(update={"path": str(checkpoint)})
    hardware = Hardware(gpu="NVIDIA B200", count=2, nodes=2)
    of = job.scenario.model_copy(update={"model": model, "hardware": hardware})
    (tmp_path / "real").mkdir()
    real = replace(make_job(tmp_path / "real", of, prompts=True), site=job.site)
    result = run(real)
    assert [(record.error, record.output_tokens) for record in result.records] == [(None, 4)] * 4
    assert all(record.first_token_s is not None for record in result.records)
    for name in ("context-1.log", "generation-1.log"):
        assert "POST /v1/completions" in (real.artifacts / name).read_text()
