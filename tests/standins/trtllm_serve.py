"""A stand-in for TensorRT-LLM's ``trtllm-serve``: as strict as each version about options and their file.

:func:`install` puts it in a folder for PATH. The options are those of commands/serve.py at 00209af1 (1.2), of
older reference pages (no --config before #9104), of #17460 (--report_addr, August 2026) and of its tests
(--num_serve_frontends, which excludes it). Then it serves like :mod:`tests.standins.started_server`, or with
a `cache_transceiver_config` and as `trtllm-serve disaggregated` like
:mod:`tests.standins.trtllm_disaggregated`.
"""

from __future__ import annotations

import http.server
import os
import sys
from pathlib import Path
from typing import NoReturn

import yaml

from tests.standins import trtllm_disaggregated
from tests.standins.release import newer
from tests.standins.started_server import Handler
from tests.standins.trtllm_bench.options_file import RejectedError, check
from tests.standins.trtllm_disaggregated import RoleHandler

_ROOT = Path(__file__).resolve().parents[2]
_VALUED = {
    *("--host", "--port", "--backend", "--tp_size", "--pp_size", "--ep_size", "--max_batch_size"),
    *("--max_num_tokens", "--max_seq_len", "--kv_cache_free_gpu_memory_fraction"),
    *("--num_postprocess_workers", "--extra_llm_api_options", "--log_level", "--tokenizer"),
}
_FLAGS = {"--trust_remote_code", "--enable_chunked_prefill"}


def install(folder: Path, version: str = "1.2.1") -> Path:
    """Install ``folder/bin/trtllm-serve``, with the metadata of its version; return the folder of programs.

    Its version is in the environment of an interpreter of its own, as in a container's.
    """
    programs, site = folder / "bin", folder / "site"
    metadata = site / f"tensorrt_llm-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n")
    programs.mkdir()
    interpreter = programs / "python-of-tensorrt-llm"
    interpreter.write_text(
        f'#!/bin/sh\nPYTHONPATH={site}:{_ROOT} DSR1_STANDIN_VERSION={version} exec {sys.executable} "$@"\n'
    )
    interpreter.chmod(0o755)
    program = programs / "trtllm-serve"
    program.write_text(f"#!{interpreter}\nfrom tests.standins.trtllm_serve import main\nmain()\n")
    program.chmod(0o755)
    return programs


def _usage_error(message: str) -> NoReturn:
    sys.stderr.write(f"Usage: trtllm-serve serve [OPTIONS] MODEL\n\nError: {message}\n")
    raise SystemExit(2)


def _options(version: str) -> set[str]:
    later = {"--config"} if newer(version, 1, 2) else set()
    later |= {"--report_addr"} if newer(version, 1, 3, 27) else set()
    return _VALUED | later | ({"--num_serve_frontends"} if newer(version, 1, 4) else set())


def _parsed(arguments: list[str], version: str) -> tuple[str, dict[str, str]]:
    """Return the model and the values of options, as click would take them."""
    valued, values, models, todo = _options(version), {}, [], list(arguments)
    if todo[:1] == ["serve"]:
        todo.pop(0)
    while todo:
        word, equals, value = todo.pop(0).partition("=")
        if not word.startswith("-"):
            models.append(word)
        elif word == "--help":
            print("Usage: trtllm-serve serve [OPTIONS] MODEL\n\nOptions:")
            print("".join(f"  {name} TEXT  See --not_an_option.\n" for name in sorted(valued)), end="")
            print("".join(f"  {name}  A flag.\n" for name in sorted(_FLAGS)), end="")
            raise SystemExit(0)
        elif word in _FLAGS:
            values[word] = "true"
        elif word not in valued:
            _usage_error(f"No such option: {word}")
        elif not equals and not todo:
            _usage_error(f"Option '{word}' requires an argument.")
        else:
            values[word] = value if equals else todo.pop(0)
    if len(models) != 1:
        _usage_error("Missing argument 'MODEL'." if not models else f"Got unexpected argument ({models[1]})")
    return models[0], values


def main() -> None:
    version = os.environ["DSR1_STANDIN_VERSION"]
    print(f"[TensorRT-LLM] TensorRT-LLM version: {version}", flush=True)
    if sys.argv[1:2] == ["disaggregated"]:
        trtllm_disaggregated.main(sys.argv[2:])
        return
    _, values = _parsed(sys.argv[1:], version)
    if not newer(version, 1, 1) and values.get("--backend") != "pytorch":
        raise SystemExit("ValueError: this model needs an engine of TensorRT (#7752)")
    path = values.get("--config") or values.get("--extra_llm_api_options")
    handler = Handler
    if path is not None:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        try:
            check(content, version)
        except (RejectedError, TypeError) as error:
            raise SystemExit(f"pydantic_core._pydantic_core.ValidationError: {error}") from None
        if backend := (content.get("cache_transceiver_config") or {}).get("backend"):
            handler, RoleHandler.backend = RoleHandler, backend
    port, report = int(values.get("--port", 8000)), values.get("--report_addr")
    if report and int(values.get("--num_serve_frontends", 1)) > 1:
        _usage_error("Invalid value for --report_addr: it needs a single serving frontend")
    if not port and not report:
        raise SystemExit("AssertionError: Port must be specified")
    print(os.environ.get("DSR1_STANDIN_SAYS", ""), flush=True)
    Path("pid").write_text(str(os.getpid()))
    server = http.server.ThreadingHTTPServer((values["--host"], port), handler)
    if report:
        Path(report).with_suffix(".new").write_text(f"{values['--host']}:{server.server_port}\n")
        Path(report).with_suffix(".new").rename(report)
    print(f"serving {' '.join(sys.argv[1:])}", flush=True)
    print(f"LLM Args: tensor_parallel_size={values.get('--tp_size', 1)} ", flush=True)
    if "UCX_TLS" in os.environ:
        print("the KV cache takes the way of UCX_TLS", flush=True)
    server.serve_forever()
