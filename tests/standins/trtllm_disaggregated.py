"""Stand-ins for disaggregated serving: the servers of each role, and the one that passes requests on.

What they accept is that of TensorRT-LLM's llmapi/disagg_utils.py (0228a712) and of commands/serve.py: a
context server answers with one token and the id of its KV cache, which a generation server needs, and both
need the same backend in `cache_transceiver_config`. The server that passes requests on waits for all others,
and has no page of models. Of its file it refuses what the real one refuses: two values of an option that all
servers have, addresses without a port, another number of them. The real one takes each key that it does not
know as such an option, and looks no further; here a key that no server has is refused, too.

Variables of a server: with DSR1_STANDIN_DIES_AFTER it ends after this number of requests, of an error of CUDA
or of DSR1_STANDIN_DIES_OF; with DSR1_STANDIN_SICK it is healthy for that number of requests; a generation
server answers when the file DSR1_STANDIN_HELD is gone. Of the one that passes requests on: with
DSR1_STANDIN_NO_TOKENS it answers without a token; with DSR1_STANDIN_PLAIN it sends requests as any client;
with DSR1_STANDIN_FRONT_ENDS it ends after this number of requests.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

from tests.standins.started_server import Handler
from tests.standins.trtllm_bench.options_file import allowed

ILLEGAL = "RuntimeError: CUDA error: an illegal memory access was encountered"
_OPTIONS = {
    **dict.fromkeys(("-c", "--config_file"), "config"),
    **dict.fromkeys(("-t", "--server_start_timeout"), "start"),
    **dict.fromkeys(("-r", "--request_timeout"), "request"),
    **dict.fromkeys(("-l", "--log_level"), "level"),
}
_ROLES = ("context_servers", "generation_servers")
_OWN_KEYS = {
    *("hostname", "port", "max_retries", "perf_metrics_max_requests", "return_perf_metrics", *_ROLES),
    *("perf_metrics_output_dir", "conditional_disagg_config", "otlp_config", "disagg_cluster", "node_id"),
    *("schedule_style", "allow_request_chat_template", "gen_strip_message_history", "gen_tokids_ctxbytes"),
    *("num_workers", "disagg_coordinator_url", "internal_request_auth_key"),
}
"""The keys of the file: extract_disagg_cfg, and that of examples/disaggregated/slurm/benchmark."""
_OF_A_ROLE = {"num_instances", "urls", "router"}
_OF_SERVERS = {
    *("backend", "tensor_parallel_size", "pipeline_parallel_size", "moe_expert_parallel_size"),
    *("max_batch_size", "max_num_tokens", "max_seq_len", *allowed("1.3.0rc27")),
}
"""Options of a server, in the file or in one of its roles."""
_REQUESTS = ("context_only", "generation_only")
_METRICS = """\
# TYPE trtllm_num_requests_running gauge
trtllm_num_requests_running {running}
trtllm_num_requests_waiting 3
trtllm_kv_cache_utilization 0.25
trtllm_prompt_tokens_total {prompts}
trtllm_generation_tokens_total {tokens}
"""


class RoleHandler(Handler):
    """A server that takes part, if its options say how the KV cache goes on."""

    backend: ClassVar[str | None] = None
    caches: ClassVar[Iterator[int]] = itertools.count(1)
    counted: ClassVar[dict[str, int]] = {"requests": 0, "prompts": 0, "tokens": 0}

    def do_GET(self) -> None:
        if self.path == "/health":
            well = self.counted["requests"] < int(os.environ.get("DSR1_STANDIN_SICK", "1000000"))
            self.answer(200 if well else 503, {})
        elif self.path == "/v1/models":
            self.answer(200, {"data": [{"id": "r1"}]})
        elif self.path == "/prometheus/metrics":
            page = _METRICS.format(running=2, **{k: v for k, v in self.counted.items() if k != "requests"})
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())
        else:
            self.answer(404, {"error": "Not Found"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = asked.get("disaggregated_params") or {}
        self.counted["requests"] += 1
        if self.counted["requests"] > int(os.environ.get("DSR1_STANDIN_DIES_AFTER", "1000000")):
            print(os.environ.get("DSR1_STANDIN_DIES_OF", ILLEGAL), flush=True)
            os._exit(1)
        if given and self.backend is None:
            self.answer(400, {"error": "cache_transceiver_config is not set"})
        elif given and given.get("request_type") not in _REQUESTS:
            self.answer(400, {"error": f"request_type is {given.get('request_type')}"})
        elif given.get("request_type") == "context_only":
            self.counted["prompts"] += len(asked["prompt"])
            passed = {**given, "ctx_request_id": next(self.caches), "encoded_opaque_state": self.backend}
            self._say(asked, 1, {"disaggregated_params": passed})
        elif given and "ctx_request_id" not in given:
            self.answer(400, {"error": "ctx_request_id is not set"})
        elif given and given.get("encoded_opaque_state") != self.backend:
            self.answer(400, {"error": f"no KV cache from {given.get('encoded_opaque_state')}"})
        else:
            _wait_until_let_go()
            time.sleep(0.005 * asked["max_tokens"])  # a rate that GPUs could reach
            self.counted["tokens"] += asked["max_tokens"]
            self._say(asked, asked["max_tokens"], {})

    def _say(self, asked: dict[str, Any], tokens: int, more: dict[str, Any]) -> None:
        usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": tokens}
        self.answer(200, {"choices": [{"text": " a" * tokens, **more}], "usage": usage})


class FrontHandler(Handler):
    """The server that passes requests on."""

    servers: ClassVar[dict[str, Iterator[str]]] = {}
    passed: ClassVar[dict[str, int]] = {"requests": 0}

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.passed["requests"] += 1
        if self.passed["requests"] > int(os.environ.get("DSR1_STANDIN_FRONT_ENDS", "1000000")):
            os._exit(3)
        plain = "DSR1_STANDIN_PLAIN" in os.environ
        first = {**asked, "max_tokens": 1, "stream": False}
        if not plain:
            first["disaggregated_params"] = {"request_type": "context_only"}
        try:
            status, answer = _post(next(self.servers["context_servers"]), self.path, first)
            if status != 200:
                self.answer(status, json.loads(answer))
                return
            if not plain:
                passed = json.loads(answer)["choices"][0]["disaggregated_params"]
                asked["disaggregated_params"] = {**passed, "request_type": "generation_only"}
            writer = next(self.servers["generation_servers"])
            if asked.get("stream"):
                self._pass_on(writer, asked)
                return
            status, answer = _post(writer, self.path, asked)
        except OSError as error:
            self.answer(500, {"error": f"Internal server error {error}"})
            return
        if "DSR1_STANDIN_NO_TOKENS" in os.environ:
            answer = b'{"choices": [{"text": ""}], "usage": {"prompt_tokens": 8, "completion_tokens": 0}}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _pass_on(self, writer: str, asked: dict[str, Any]) -> None:
        """Pass a stream on as it comes."""
        connection = http.client.HTTPConnection(writer, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", self.path, json.dumps(asked), {"Content-Type": "application/json"})
            response = connection.getresponse()
            self.send_response(response.status)
            self.send_header("Content-Type", response.getheader("Content-Type", ""))
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while piece := response.read1(1 << 16):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")


def _wait_until_let_go() -> None:
    held = Path(os.environ.get("DSR1_STANDIN_HELD", ""))
    if held.is_file():
        print("held", flush=True)
    while held.is_file():
        time.sleep(0.02)


def _post(address: str, path: str, asked: dict[str, Any]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(asked), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def _usage_error(message: str) -> NoReturn:
    sys.stderr.write(f"Usage: trtllm-serve disaggregated [OPTIONS]\n\nError: {message}\n")
    raise SystemExit(2)


def _healthy(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def _addresses(config: dict[str, Any]) -> dict[str, list[str]]:
    """Return the addresses of the servers by role; refuse a file that is not right."""
    roles = {role: config.get(role) or {} for role in _ROLES}
    shared = {key: value for key, value in config.items() if key not in _OWN_KEYS}
    unknown = [key for key in shared if key not in _OF_SERVERS]
    for role, servers in roles.items():
        unknown += [f"{role}.{key}" for key in servers if key not in _OF_A_ROLE | _OF_SERVERS]
        for key in shared.keys() & servers.keys():
            if shared[key] != servers[key]:
                raise SystemExit(
                    f"ValueError: Parameter {key} is specified both in the top-level and in the {role} "
                    "section, but with different values"
                )
    if unknown:
        raise SystemExit(f"no server has these keys: {', '.join(unknown)}")
    for servers in roles.values():
        urls, number = servers.get("urls") or [], servers.get("num_instances", 1)
        for url in urls:
            host, port = url.split(":")
            assert host
            int(port)
        if len(urls) != number:
            raise SystemExit(
                f"ValueError: Number of hostnames ({len(urls)}) should be equal to the number of instances "
                f"({number})"
            )
    return {role: servers["urls"] for role, servers in roles.items()}


def main(arguments: list[str]) -> None:
    """Run `trtllm-serve disaggregated` with these arguments."""
    given, todo = dict[str, str](), list(arguments)
    while todo:
        word = todo.pop(0)
        if word not in _OPTIONS:
            _usage_error(f"No such option: {word}")
        if not todo:
            _usage_error(f"Option '{word}' requires an argument.")
        given[_OPTIONS[word]] = todo.pop(0)
    config = yaml.safe_load(Path(given["config"]).read_text(encoding="utf-8"))
    by_role = _addresses(config)
    addresses = [url for urls in by_role.values() for url in urls]
    FrontHandler.servers = {role: itertools.cycle(urls) for role, urls in by_role.items()}
    until_s = time.monotonic() + int(given["start"])
    while not all(map(_healthy, addresses)):
        if time.monotonic() > until_s:
            raise SystemExit("TimeoutError: Timed out waiting for all servers to be ready")
        time.sleep(0.05)
    server = http.server.ThreadingHTTPServer((config["hostname"], config["port"]), FrontHandler)
    print(f"passing on {' '.join(addresses)}", flush=True)
    server.serve_forever()
