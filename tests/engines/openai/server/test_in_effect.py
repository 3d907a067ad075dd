"""What a server's pages and log show about its options."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.openai.endpoint import site
from pytest_dsr1.engines.openai.server import in_effect
from pytest_dsr1.engines.openai.server.in_effect import read_options
from pytest_dsr1.engines.openai.settings import OpenAi
from tests.standins.openai_server import GOOD, Answer, plain, serving
from tests.standins.server_metrics import page, served

Pages = Mapping[str, Callable[[], Answer]]
VLLM = page(("vllm:cache_config_info", "gauge", {"cache_dtype": "fp8", "num_gpu_blocks": "100"}, 1))
TRTLLM = page(
    ("trtllm_max_batch_size_static", "gauge", {"engine_type": "pytorch"}, 128),
    ("trtllm_kv_cache_max_blocks", "gauge", {"engine_type": "pytorch"}, 4096),
)


def answer(body: object) -> Answer:
    return plain("200 OK", json.dumps(body).encode())


def read(server: str, pages: Pages, log: Path | None = None) -> list[Option]:
    with serving(lambda _: GOOD, pages=pages) as port:
        url = f"http://127.0.0.1:{port}"
        where = site(OpenAi.model_validate({"type": "openai", "server": server, "url": url}), url)
        return list(read_options(server, where, log))


def test_a_running_vllm_server() -> None:
    pages = {"/metrics": lambda: served(VLLM), "/version": lambda: answer({"version": "0.33.0"})}
    assert read("vllm", pages) == [
        Option("kv_cache_dtype", "fp8", "/metrics"),
        Option("kv_cache_blocks", 100, "/metrics"),
        Option("version", "0.33.0", "/version"),
    ]


def test_the_log_of_a_server_comes_first(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("Initializing a V1 LLM engine (v0.26.0) with config: model='/m', kv_cache_dtype=auto, x\n")
    options = read("vllm", {"/metrics": lambda: served(VLLM)}, log)
    assert [(each.name, each.in_effect, each.read_from) for each in options] == [
        ("version", "0.26.0", "server.log"),
        ("kv_cache_dtype", "auto", "server.log"),
        ("kv_cache_dtype", "fp8", "/metrics"),
        ("kv_cache_blocks", 100, "/metrics"),
    ]


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_both_pages_of_sglang(path: str) -> None:
    """Versions before 0.5.6 have the second alone."""
    pages = {
        "/server_info": lambda: plain("404 Not Found", b"{}"),
        path: lambda: answer({"version": "0.5.2", "tp_size": 8}),
    }
    assert read("sglang", pages) == [
        Option("version", "0.5.2", path),
        Option("tp", 8, path),
    ]


def test_trtllm_serve() -> None:
    pages = {"/prometheus/metrics": lambda: served(TRTLLM), "/version": lambda: answer({"version": "1.3.0"})}
    assert read("trtllm-serve", pages) == [
        Option("max_batch_size", 128, "/prometheus/metrics"),
        Option("kv_cache_blocks", 4096, "/prometheus/metrics"),
        Option("version", "1.3.0", "/version"),
    ]


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_a_metric_without_a_number_is_left_out(value: str) -> None:
    body = f"# TYPE trtllm_max_batch_size_static gauge\ntrtllm_max_batch_size_static {value}\n".encode()
    assert read("trtllm-serve", {"/prometheus/metrics": lambda: served(body)}) == []


@pytest.mark.parametrize("server", ["vllm", "sglang", "trtllm-serve", "other"])
@pytest.mark.parametrize(
    "wrong",
    [
        plain("404 Not Found", b"{}"),
        plain("200 OK", b"[" * 100_000),
        plain("200 OK", b"vllm:cache_config_info{ nonsense\n"),
        plain("200 OK", b'{"version": [3], "internal_states": 4}'),
        b"no HTTP\r\n\r\n",
    ],
)
def test_what_cannot_be_read_is_left_out(server: str, wrong: bytes) -> None:
    paths = ("/metrics", "/prometheus/metrics", "/version", "/server_info", "/get_server_info")
    assert read(server, dict.fromkeys(paths, lambda: wrong)) == []


def test_a_server_that_hangs_costs_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_effect, "_TIMEOUT_S", 0.05)
    asked: list[str] = []

    def hang() -> Answer:
        asked.append("page")
        time.sleep(0.2)
        return plain("200 OK", b"")

    assert read("vllm", {"/metrics": hang, "/version": hang}) == []
    assert asked == ["page"]
