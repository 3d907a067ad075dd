"""Servers that the engine `openai` starts: stand-ins, and a real `transformers serve`."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.errors import EngineError
from pytest_dsr1.records import Question, QuestionSet
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.checkpoint import chinese_checkpoint
from tests.helpers.metrics import from_records
from tests.helpers.openai_jobs import make_job
from tests.helpers.values import scenario
from tests.helpers.waiting import ever_longer, written
from tests.helpers.watcher import Watcher

pytestmark = pytest.mark.usefixtures("client_unjudged")

SERVER = """
import http.server, json, os, sys
open("pid", "w").write(str(os.getpid()))
print("loading the weights", flush=True)
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        asked.append((self.path, self.headers["Authorization"]))
        status = 200
        if "no-health" in sys.argv:
            status = 404 if self.path == "/health" else 200 if len(asked) > 4 else 503
        if "no-page" in sys.argv:
            status = 404
        open("asked.json", "w").write(json.dumps(asked))
        self.answer(b'{"data": [{"id": "started"}]}', status)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if "die" in sys.argv:
            # One write: print() writes the line's end by itself, and another thread may come between.
            os.write(1, b"CUDA error: an illegal memory access\\n")
            os._exit(3)
        self.answer(b'{"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 4}}')
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def started(*arguments: str, program: str = SERVER, **engine: Any) -> Scenario:
    """A scenario that starts this program with its port."""
    return scenario(
        model={"name": "deepseek-ai/DeepSeek-R1"},
        engine={
            "type": "openai",
            "command": [sys.executable, "-c", program, "{port}", *arguments],
            "streaming": False,
            **engine,
        },
    )


def gone(job: Job) -> bool:
    """Whether the server's process has ended."""
    return not Path(f"/proc/{(job.artifacts / 'pid').read_text()}").exists()


def test_server_is_started_measured_and_ended(tmp_path: Path) -> None:
    job = make_job(tmp_path, started())
    watcher = Watcher()
    result = OpenAiEngine().run(job, watcher)
    assert [r.error for r in result.records] == [None] * 4
    assert result.facts.other["model"] == "started"
    assert watcher.phases[0] == "starting"
    assert watcher.phases[-2:] == ["warm-up", "measuring"]
    assert (job.artifacts / "server.log").read_text() == "loading the weights\n"
    assert "{port}" not in (job.artifacts / "server.sh").read_text()
    assert gone(job)


def test_server_that_dies_is_recognised(tmp_path: Path) -> None:
    job = make_job(tmp_path, started("die"))
    with pytest.raises(EngineError) as caught:
        OpenAiEngine().run(job, Watcher())
    assert "the server ended with exit status 3" in str(caught.value)
    assert "CUDA error: an illegal memory access" in str(caught.value)
    assert gone(job)


def test_server_that_does_not_start(tmp_path: Path) -> None:
    job = make_job(tmp_path, started(program="import sys; sys.exit('unrecognized arguments: --tp')"))
    with pytest.raises(EngineError, match="the server ended with exit status 1") as caught:
        OpenAiEngine().run(job, Watcher())
    assert "unrecognized arguments: --tp" in str(caught.value)


CAUSE = (
    "ValueError: 10.72 GiB KV cache is needed, which is larger than the available KV cache memory (3.10 GiB)."
)
FAR_ABOVE = f"""
print("(EngineCore_DP0 pid=2) ERROR 12-29 15:21:50 [core.py:866] {CAUSE}")
for i in range(500):
    print(f'(APIServer pid=1)   File "/opt/a.py", line {{i}}, in f')
print("(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
"""


def test_the_cause_of_a_death_may_be_far_above_the_end(tmp_path: Path) -> None:
    job = make_job(
        tmp_path, started(server="vllm", program=f"{FAR_ABOVE}raise SystemExit(1)", gpu_memory_fraction=0.8)
    )
    with pytest.raises(EngineError) as caught:
        OpenAiEngine().run(job, Watcher())
    first, head, telling, last = str(caught.value).splitlines()
    assert "the server ended with exit status 1: it has no room for the KV cache that this scenario" in first
    assert "raise engine.gpu_memory_fraction (now 0.8), lower engine.max_seq_len" in first
    assert head == f"The relevant lines of {job.artifacts / 'server.log'}:"
    assert CAUSE in telling
    assert "See root cause above" in last


def test_a_server_that_is_not_ready_and_shows_a_cause_needs_no_longer_limit(tmp_path: Path) -> None:
    for limit_s in ever_longer(1.0, lambda: written(tmp_path, "*/engine/server.log", "See root cause")):
        folder = tmp_path / f"{limit_s:g}"
        folder.mkdir()
        job = make_job(
            folder, started(program=f"{FAR_ABOVE}import time; time.sleep(600)", startup_timeout_s=limit_s)
        )
        with pytest.raises(EngineError) as caught:
            OpenAiEngine().run(job, Watcher())
    assert "not ready within" in str(caught.value)
    assert "it has no room for the KV cache" in str(caught.value)
    assert "raise engine.startup_timeout_s" not in str(caught.value)


def test_a_server_after_which_nothing_can_come_is_stopped_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dsr1.process.log.waiting.PATIENCE_S", 0.1)
    program = "print('MPI_ERR_SPAWN: could not spawn processes', flush=True); import time; time.sleep(600)"
    with pytest.raises(
        EngineError, match=r"the server could not start its worker processes through MPI: .*silence"
    ):
        OpenAiEngine().run(make_job(tmp_path, started(program=program)), Watcher())


def test_a_server_that_fails_every_request_but_lives_is_explained_by_its_log(tmp_path: Path) -> None:
    program = SERVER.replace("os._exit(3)", "self.answer(b'{}', 500); return")
    with pytest.raises(EngineError) as caught:
        OpenAiEngine().run(make_job(tmp_path, started("die", program=program)), Watcher())
    first = str(caught.value).splitlines()[0]
    assert "warm-up requests failed" in first or "requests so far failed" in first
    assert "; the server met an error of CUDA: CUDA error: an illegal memory access; run again with" in first


def test_srun_inside_a_step_of_srun_is_a_mismatch() -> None:
    engine = scenario(
        model={"name": "m"}, engine={"type": "openai", "command": ["srun", "s", "{port}"]}
    ).engine
    inside = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    assert ("mismatch", "Slurm") in {(f.severity, f.subject) for f in engine.software(inside)}
    assert "Slurm" not in {finding.subject for finding in engine.software({})}


def test_server_that_is_never_ready(tmp_path: Path) -> None:
    program = "open('pid', 'w').write(str(__import__('os').getpid())); __import__('time').sleep(600)"
    for limit_s in ever_longer(1.0, lambda: written(tmp_path, "*/engine/pid")):
        folder = tmp_path / f"{limit_s:g}"
        folder.mkdir()
        job = make_job(folder, started(program=program, startup_timeout_s=limit_s))
        with pytest.raises(EngineError) as caught:
            OpenAiEngine().run(job, Watcher())
    assert re.search(
        rf"not ready within {limit_s:g} s \(GET http://[\d.:]+/health: no answer\); "
        ".* raise engine.startup_timeout_s",
        str(caught.value),
    )
    assert gone(job)


def test_server_without_a_health_page_is_asked_for_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVERS_KEY", "sk-1")
    job = make_job(tmp_path, started("no-health", api_key_env="SERVERS_KEY"))
    result = OpenAiEngine().run(job, Watcher())
    assert [r.error for r in result.records] == [None] * 4
    asked = json.loads((job.artifacts / "asked.json").read_text())
    key = "Bearer sk-1"
    assert asked[:6] == [["/health", key], *[["/v1/models", key]] * 5], "until it is ready, then for the name"
    assert gone(job)


def test_server_with_neither_page_is_never_ready(tmp_path: Path) -> None:
    for limit_s in ever_longer(1.0, lambda: written(tmp_path, "*/engine/asked.json", '"/v1/models"')):
        folder = tmp_path / f"{limit_s:g}"
        folder.mkdir()
        job = make_job(folder, started("no-page", startup_timeout_s=limit_s))
        with pytest.raises(EngineError) as caught:
            OpenAiEngine().run(job, Watcher())
    assert re.search(
        rf"was not ready within {limit_s:g} s \(GET http://[\d.:]+/v1/models: HTTP 404\); if",
        str(caught.value),
    )
    assert gone(job)


def test_key_of_a_started_server_is_asked_for_before_it_loads(tmp_path: Path) -> None:
    job = make_job(tmp_path, started(api_key_env="NO_SUCH_KEY_HERE"))
    with pytest.raises(EngineError, match="the variable NO_SUCH_KEY_HERE is not set"):
        OpenAiEngine().run(job, Watcher())
    assert not (job.artifacts / "pid").exists()


def test_program_that_is_not_installed(tmp_path: Path) -> None:
    job = make_job(
        tmp_path,
        scenario(model={"name": "m"}, engine={"type": "openai", "command": ["no-such-server", "{port}"]}),
    )
    with pytest.raises(EngineError, match=r"no-such-server is not installed \(not found in PATH\)"):
        OpenAiEngine().run(job, Watcher())


@pytest.mark.cpu_engine
def test_real_transformers_serve(tmp_path: Path) -> None:
    """A tiny DeepSeek-V3 checkpoint, made here, served for real by the command that the engine has for it."""
    checkpoint = chinese_checkpoint(tmp_path / "checkpoint")
    programs = str(Path(sys.executable).parent)
    of = scenario(
        model={"name": "deepseek-ai/DeepSeek-R1", "path": str(checkpoint)},
        load={"concurrency": 1, "num_requests": 4, "warmup_requests": 1},
        engine={
            "type": "openai",
            "server": "transformers",
            "arguments": ["--device", "cpu"],
            "environment": {
                "HF_HUB_OFFLINE": "1",
                "COVERAGE_PROCESS_CONFIG": "",  # the server is foreign
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            },
        },
    )
    same = tuple(Question(f"same_answers/{n}", "0 a b", 8, ends=False) for n in range(2))
    task = (Question("questions/0", "1 a b", 12, ends=True), Question("questions/1", "2 a b", 12, ends=True))
    job = replace(
        make_job(tmp_path, of, prompts=True, output_tokens=16),
        questions=(QuestionSet(same, 1), QuestionSet(task, 2)),
    )
    watcher = Watcher()
    result = OpenAiEngine().run(job, watcher)
    shell = (job.artifacts / "server.sh").read_text()
    assert f" transformers serve {checkpoint} --host 127.0.0.1 --port " in shell
    assert "measuring" in watcher.phases
    assert not [
        p.pid for p in psutil.process_iter(["cmdline"]) if str(checkpoint) in (p.info["cmdline"] or ())
    ]
    assert [(r.error, r.output_tokens) for r in result.records] == [(None, 16)] * 4
    assert all(r.first_token_s is not None and r.input_tokens > 0 for r in result.records)
    assert from_records(result.records, 0)["average_tpot"] > 0
    assert [answer.error for answer in result.answers] == [None] * 4
    first, second, *_ = (answer.text for answer in result.answers)
    assert first == second, "greedy"
    assert first is not None
    assert len(first) == 8, "a character is a token"
