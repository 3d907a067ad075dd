"""The engine openai through the plugin: a stand-in for a server that is started, measured and ended."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.real_run import TRIES, disturbed
from tests.helpers.waiting import wait_until_gone

pytestmark = pytest.mark.needs("httptools")

# Answers four tokens. The request of number HANG is never answered: then a worker that left the session is
# started, and both processes' ids are told to PORT.
SERVER = """\
import http.server, os, socket, sys, threading, time
port, told, hang = map(int, sys.argv[1:])
asked, lock = [], threading.Lock()
CHUNK = b'data: {"choices": [{"text": " a"}]}\\n\\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 4}}\\n\\n'

def hang_for_ever():
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, b"%d" % os.getpid())
            threading.Event().wait()
        os._exit(0)
    worker = int(os.read(read, 20))
    socket.create_connection(("127.0.0.1", told)).sendall(b"%d %d\\n" % (os.getpid(), worker))
    threading.Event().wait()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_): pass

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(CHUNK)])
        time.sleep(0.01)
        self.wfile.write(body[len(CHUNK):])

    def do_GET(self):
        self.answer("application/json", b'{"data": [{"id": "started"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            asked.append(self)
            number = len(asked)
        if number == hang:
            hang_for_ever()
        self.answer("text/event-stream", CHUNK * 4 + USAGE)

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

SCENARIO = """\
name: served
description: A server that is started
hardware: {{}}
model: {{name: deepseek-ai/DeepSeek-R1}}
dataset: {{input_tokens: 8, output_tokens: 4, vocab_size: 100}}
load: {{concurrency: 2, num_requests: 8, warmup_requests: 2}}
engine:
  type: openai
  command: [{python}, -S, {server}, "{{port}}", "{told}", "{hang}"]
targets:
  - {{metric: total_output_throughput, value: 0.001}}
  - {{metric: average_ttft, value: 60000.0}}
"""


# A shell that starts this test in the background has SIGINT ignored, which processes inherit.
RUN = """\
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main())
"""


class Served:
    """A folder with the scenario, and the server's way to tell who runs."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(60)
        (pytester.path / "server.py").write_text(SERVER, encoding="utf-8")
        pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
        self.write(hang=0)

    def write(self, *, hang: int) -> None:
        """The scenario, in which so many requests come before one that is not answered; 0 for none."""
        told = self.listener.getsockname()[1]
        server = self.pytester.path / "server.py"
        text = SCENARIO.format(python=sys.executable, server=server, told=told, hang=hang)
        (self.pytester.path / "served.yaml").write_text(text, encoding="utf-8")

    def hanging(self) -> list[int]:
        """Wait until the server hangs; its process id, and that of its worker."""
        with self.listener.accept()[0] as told, told.makefile() as file:
            return [int(pid) for pid in file.readline().split()]

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest, and again, without its result, if other work on this machine made the run INVALID."""
        for _ in range(TRIES):
            result = self.pytester.runpytest_subprocess("served.yaml", *arguments)
            if not disturbed(result.ret, result.stdout.str()):
                break
            shutil.rmtree(self.pytester.path / ".dsr1")
        return result

    def document(self) -> dict[str, object]:
        """What is saved of the one measurement."""
        (saved,) = (self.pytester.path / ".dsr1" / "served").iterdir()
        document: dict[str, object] = json.loads((saved / "measurement.json").read_text(encoding="utf-8"))
        return document


@pytest.fixture
def served(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is told must be seen at once without it
    own = Served(pytester)
    with own.listener:
        yield own


def test_started_measured_judged_and_ended(served: Served) -> None:
    result = served.run()
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*PASS * average time to first token (TTFT) *"])
    assert served.document()["state"] == "complete"


PLANTED = """\
  arguments:
    - --api-key
    - planted
    - planted-too
    - --header
    - "Authorization: Bearer planted"
    - --env=HF_TOKEN=planted
    - --export=ALL,HF_TOKEN=planted
    - '--hf-overrides={"api_key": "planted", "n": 8}'
    - --cfg
    - '{"auth": {"value": "planted"}}'
    - export HF_TOKEN=planted; HF_TOKEN=planted exec x --n 8
    - https://h/x?token=planted&n=8
    - http://u:p@planted@h/
    - --hub=http://u:planted@h
    - "-----BEGIN PRIVATE KEY-----\\nplanted\\n-----END PRIVATE KEY-----"
    - ./opts.yml
  environment:
    HF_TOKEN: planted-token
    MODE: plain
    HF_TOKENS: planted
    TS_AUTHKEY: planted
    GITHUB_PAT: planted
    AWS_CREDS: planted
    HF_ENDPOINT: "https://h/x?token=planted"
    PROXY: "http://u:planted@h"
    EXTRA_HEADERS: "Authorization: Bearer planted"
  body:
    api_key: planted
    extra_headers: {Authorization: Bearer planted, Cookie: sid=planted}
    api_keys: [planted, x]
    headers: ["Authorization: Bearer planted"]
    password: 123454321
    metadata: [{name: HF_TOKEN, value: planted}]
"""
"""Secrets in all ordinary places of an engine."""
FILE = """\
api_key: sk-aaaaaaaaaaaaaaaaaaaaaa/planted
moe_backend: CUTLASS
api_keys: {alice: planted}
auth: {value: planted}
env: [{name: HF_TOKEN, value: planted}]
words: ["Authorization: Bearer planted", HF_TOKEN=planted, --api-key, planted]
password: 123454321
pem: "-----BEGIN PRIVATE KEY-----\\nplanted"
url: https://h/x?token=planted
"""


def with_options(served: Served) -> None:
    """The server first reads a file that is named relative to the folder in which pytest was started."""
    folder = served.pytester.path
    reader = (
        "import os, runpy, sys\nopen(sys.argv.pop())\ndel sys.argv[4:]\n"
        "print('ERROR: token', os.environ['HF_TOKEN'], os.environ['DB_PASSWD'], flush=True)\n"
        "if os.environ['MODE'] == 'broken':\n    sys.exit(1)\n"
        f"runpy.run_path({str(folder / 'server.py')!r})\n"
    )
    (folder / "reader.py").write_text(reader, encoding="utf-8")
    (folder / "opts.yml").write_text(FILE, encoding="utf-8")
    text = (folder / "served.yaml").read_text(encoding="utf-8")
    text = text.replace("command: [", "command: [env, DB_PASSWD=planted-word, ")
    text = text.replace(str(folder / "server.py"), str(folder / "reader.py"))
    (folder / "served.yaml").write_text(text.replace("targets:", f"{PLANTED}targets:"), encoding="utf-8")


def test_a_secret_reaches_no_artifact_and_the_content_of_a_named_file_is_a_fact(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_options(served)
    summary = served.pytester.path / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = served.run(
        *("-v", "--benchmark-autosave", "--junit-xml=junit.xml"),
        *("--dsr1-report=report.html", "--dsr1-report=report.md", "--dsr1-report=report.json"),
        "--dsr1-report=report.codequality.json",
        "--dsr1-set=engine.environment.WANDB_API_KEY=planted",
    )
    assert result.ret == 0, result.stdout.str()
    facts = cast("Any", served.document())["measurement"]["fingerprint"]["facts"]
    names = ("option.engine.environment.HF_TOKEN", "option.engine.environment.MODE")
    assert [facts[name] for name in names] == ["${HF_TOKEN}", "plain"]
    assert facts["option.engine.body.password"] == "(not shown)"
    assert {key: facts[key] for key in facts if "opts.yml" in key} == {
        "file../opts.yml.api_key": "(not shown)",
        "file../opts.yml.api_keys.alice": "(not shown)",
        "file../opts.yml.auth.value": "(not shown)",
        "file../opts.yml.env.0.name": "HF_TOKEN",
        "file../opts.yml.env.0.value": "(not shown)",
        "file../opts.yml.moe_backend": "CUTLASS",
        "file../opts.yml.password": "(not shown)",
        "file../opts.yml.pem": "(not shown)",
        "file../opts.yml.url": "https://h/x?token=(not shown)",
        "file../opts.yml.words": [
            *("Authorization: Bearer (not shown)", "HF_TOKEN=(not shown)", "--api-key", "(not shown)")
        ],
    }
    inputs = {"served.yaml", "opts.yml"}
    written = [path for path in served.pytester.path.rglob("*") if path.is_file() and path.name not in inputs]
    assert {"server.sh", "scenario.yaml", "measurement.json", "report.html", "report.md", "junit.xml"} <= {
        path.name for path in written
    }
    assert [path for path in written if ".benchmarks" in path.parts]
    secret = re.compile(b"planted|123454321")
    assert [str(path) for path in written if secret.search(path.read_bytes())] == []
    assert "planted" not in result.stdout.str() + result.stderr.str()
    (script,) = (path for path in written if path.name == "server.sh")
    assert script.stat().st_mode & 0o777 == 0o600
    shell = script.read_text(encoding="utf-8")
    assert shell.startswith('HF_TOKEN="${HF_TOKEN:?export it first}" MODE=plain ')
    assert ' env "DB_PASSWD=${DB_PASSWD}" ' in shell
    assert ' "export HF_TOKEN=${HF_TOKEN}; HF_TOKEN=${HF_TOKEN} exec x --n 8" ' in shell
    assert shell.endswith(f" {served.pytester.path}/opts.yml\n")
    (scenario,) = (path for path in written if path.name == "scenario.yaml")
    again = served.pytester.runpytest_subprocess(str(scenario), "--dsr1-plan")
    assert "planted" not in again.stdout.str()
    again.stdout.fnmatch_lines(["# set first: export DB_PASSWD=*", "# set first: export HF_TOKEN=*"])
    assert served.pytester.runpytest_subprocess("--dsr1-replay=served").ret == 0
    for name in re.findall(r"# set first: export (\w+)=", again.stdout.str()):
        monkeypatch.setenv(name, "x")
    refused = served.pytester.runpytest_subprocess(str(scenario))
    refused.stdout.fnmatch_lines(
        [
            "*scenario served: (not shown) stands for a secret, which is never saved*",
            "*  engine.body.api_key",
            "*Write each value into the file, or set it with --dsr1-set KEY=VALUE",
        ]
    )


def test_a_secret_that_a_server_prints_reaches_no_artifact(served: Served) -> None:
    with_options(served)
    path = served.pytester.path / "served.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("MODE: plain", "MODE: broken"), encoding="utf-8")
    result = served.pytester.runpytest_subprocess(
        "served.yaml", "-v", "--junit-xml=junit.xml", "--dsr1-report=report.html", "--dsr1-report=report.md"
    )
    result.stdout.fnmatch_lines(
        ["*failed with exit status 1; the first error in its log: token ${HF_TOKEN} ${DB_PASSWD}*"]
    )
    inputs = {"served.yaml", "opts.yml"}
    written = [path for path in served.pytester.path.rglob("*") if path.is_file() and path.name not in inputs]
    assert [path.name for path in written if b"token ${HF_TOKEN}" in path.read_bytes()]
    assert [str(path) for path in written if b"planted" in path.read_bytes()] == []
    assert "planted" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(("phase", "hang"), [("warm-up", 1), ("measuring", 6)])
def test_nothing_is_left_when_the_run_is_ended(
    served: Served, phase: str, hang: int, number: signal.Signals
) -> None:
    served.write(hang=hang)
    command = [sys.executable, "-c", RUN, "served.yaml"]
    written = served.pytester.path / "output.txt"
    with (
        written.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as run,
    ):
        try:
            family = served.hanging()
            # The server hears of the request before the phase is written, and what is killed writes no more.
            until_s = time.monotonic() + 60
            while f"served: {phase}" not in written.read_text() and time.monotonic() < until_s:
                time.sleep(0.01)
            run.send_signal(number)
            run.wait(timeout=60)
        finally:
            run.kill()
    output = written.read_text()
    assert len(family) == 2
    wait_until_gone(*family)
    assert f"served: {phase}" in output
    assert ("measuring" in output) == (phase == "measuring")
    if number == signal.SIGINT:
        assert run.returncode == pytest.ExitCode.INTERRUPTED
        assert "KeyboardInterrupt" in output
        assert served.document()["error"] == "ended by KeyboardInterrupt"
    else:
        assert run.returncode == -signal.SIGKILL


def test_a_saturated_client_is_invalid(served: Served) -> None:
    """The loop is blocked on purpose, and the shortest time that is judged is cut.

    Fifty requests last for several ticks; eight could end before the first.
    """
    served.pytester.makeconftest(
        """
        import time
        from pytest_dsr1.engines.openai.client import self_check
        from pytest_dsr1.engines.openai.measuring import Measuring

        self_check.SHORTEST_S = 0.0
        look = Measuring._look

        def blocking(self):
            time.sleep(0.3)
            look(self)

        Measuring._look = blocking
        """
    )
    longer = ("--dsr1-set", "load.num_requests=50")
    result = served.run(*longer, "--junitxml=junit.xml")
    assert result.ret == 10, result.stdout.str()
    result.assert_outcomes(passed=1, errors=2)
    output = result.stdout.str()
    result.stdout.fnmatch_lines(
        ["*served: client-bound: the load generator was saturated, so the figures are*"]
    )
    assert "Traceback" not in output
    assert "INVALID" in output
    suite = ET.parse(served.pytester.path / "junit.xml").getroot()[0]
    words = [p.get("value") for p in suite.iter("property") if p.get("name") == "dsr1_verdict"]
    assert sorted(w for w in words if w) == ["INVALID", "INVALID", "PASS"]


def test_a_trace_that_cannot_be_used_is_an_error_in_one_message(served: Served) -> None:
    row = {"timestamp": 0, "input_length": 513, "output_length": 4, "hash_ids": [1]}
    trace = served.pytester.path / "trace.jsonl"
    trace.write_text(f"{json.dumps(row)}\n" * 8, encoding="utf-8")
    arrival = f'load.arrival={{"type": "trace", "path": "{trace}"}}'
    result = served.run("--dsr1-set", arrival)
    assert result.ret == 10, result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            f"*{trace} is not a usable trace (8 problems):",
            f"*{trace}:1: expected 2 hash_ids, found 1: one per 512 tokens of input_length (513), *",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_run_of_a_duration_needs_fewer_requests(served: Served) -> None:
    arguments = ("--dsr1-set", "load.num_requests=100000", "--dsr1-set", "load.duration_s=0.3")
    result = served.run(*arguments)
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=3)
