"""A stand-in for NVIDIA's ``trtllm-bench throughput``: as strict as each version, with its output and errors.

Environment variables set its behavior:
``DSR1_STANDIN_VERSION`` (1.2.1), ``DSR1_STANDIN_FAIL`` (a name of ``FAILURES``), ``DSR1_STANDIN_TTFT_MS``,
``DSR1_STANDIN_TPOT_MS``, ``DSR1_STANDIN_ACCEPTANCE`` (2.8 with MTP), ``DSR1_STANDIN_SEED``,
``DSR1_STANDIN_TIMES`` (a requests.jsonl with the times to use), ``DSR1_STANDIN_PIDS`` (a file for the id of a
worker that leaves the process group), ``DSR1_STANDIN_HELD`` (a file: a run goes on when it is gone).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import yaml

from tests.standins.release import newer
from tests.standins.trtllm_bench import commandline, rendering
from tests.standins.trtllm_bench.options_file import check, draft_length
from tests.standins.trtllm_bench.timing import Served, Speed, serve

FAILURES = (
    *("oom", "killed", "silent-death", "worker-death", "hang-start", "hang-run", "sigint", "requests-failed"),
    *("no-report", "truncated-report", "nan-report", "fewer", "short-answers", "ignored-batch", "weights"),
    *("no-requests", "truncated-requests", "fewer-records", "worker-death-hang"),
)


class Program:
    def __init__(self, arguments: list[str]) -> None:
        self.version = os.environ.get("DSR1_STANDIN_VERSION", "1.2.1")
        self.failure = os.environ.get("DSR1_STANDIN_FAIL", "")
        assert self.failure in ("", *FAILURES), self.failure
        self.group, self.options = commandline.parse(arguments, self.version)

    def log(self, message: str, level: str = "I") -> None:
        """Print a line like TensorRT-LLM's logger: --log_level warning hides information."""
        if level == "I" and self.group["log_level"] in {"internal_error", "error", "warning"}:
            return
        print(f"{time.strftime('[%m/%d/%Y-%H:%M:%S]')} [TRT-LLM] [{level}] {message}", flush=True)

    def run(self) -> None:
        if Path(self.group["model"]).exists():
            commandline.usage_error(
                "trtllm-bench",
                "Invalid value for '--model' / '-m': Model is a file or directory, please provide a model "
                "name.",
            )
        if not newer(self.version, 1, 0) and self.options.get("backend") != "pytorch":
            raise ValueError("engine_dir is required for the TensorRT backend")
        self.log("Preparing to run throughput benchmark...")
        lengths = self._lengths(Path(self.options["dataset"]))
        extra = self._extra()
        if self.options.get("max_batch_size") and self.options.get("max_num_tokens"):
            self.log("Use user-provided max batch size and max num tokens.")
        self.log(f"Setting PyTorch max sequence length to {max(map(sum, lengths))}")
        self.log("Setting up throughput benchmark.")
        _worker()
        self._load()
        if self.options["warmup"]:
            self.log("Setting up for warmup...")
            self.log("Running warmup.")
            self._bar(self.options["warmup"], self.options["warmup"])
            self.log("Benchmark complete.")
            self.log("Warmup done.")
        self.log("Starting benchmark...")
        self._bar(0, len(lengths))
        if self.failure == "hang-run":
            self._bar(len(lengths) // 10, len(lengths))
            time.sleep(600)
        while (held := os.environ.get("DSR1_STANDIN_HELD")) and Path(held).exists():
            time.sleep(0.02)
        served = self._serve(lengths, extra)
        self._report(served, extra)

    def _lengths(self, path: Path) -> list[tuple[int, int]]:
        with path.open(encoding="utf-8") as lines:
            requests = [json.loads(line) for line in lines]
        wanted = self.options["num_requests"]  # more than the file has: silently fewer
        if self.failure == "fewer":
            wanted = len(requests) - 1
        return [
            (len(r["input_ids"]) if r.get("input_ids") else len(r["prompt"].split()), r["output_tokens"])
            for r in (requests[:wanted] if wanted else requests)
        ]

    def _extra(self) -> dict[str, Any]:
        path = self.options.get("extra_llm_api_options")
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) if path else {}
        check(content, self.version)
        return dict(content)

    def _load(self) -> None:
        for share in (0, 50, 100):
            sys.stderr.write(
                f"\rLoading weights: {share:3d}%|{'#' * (share // 10):10}| {share}/100 [00:00<00:00]"
            )
        sys.stderr.write("\n")
        if self.failure == "hang-start":
            time.sleep(600)
        if self.failure == "oom":
            raise RuntimeError(
                "CUDA out of memory. Tried to allocate 5.25 GiB. GPU 3 has a total capacity of 139.81 GiB"
            )
        if self.failure == "weights":
            raise ValueError("Unsupported quantization in hf_quant_config.json")
        if self.failure == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.failure == "silent-death":
            os._exit(1)
        if self.failure.startswith("worker-death"):
            print("mpirun noticed that process rank 3 with PID 4711 on node dgx exited on signal 9 (Killed).")
            sys.stdout.flush()
            if self.failure == "worker-death-hang":
                time.sleep(600)
            os._exit(137)

    def _bar(self, done: int, total: int) -> None:
        sys.stderr.write(
            f"\rBenchmarking: {done * 100 // total:3d}%|    | {done}/{total} [00:00<00:00,  1.0it/s]"
        )
        if done == total:
            sys.stderr.write("\n")
        sys.stderr.flush()

    def _serve(self, lengths: list[tuple[int, int]], extra: dict[str, Any]) -> list[Served]:
        if self.failure == "short-answers":
            lengths = [(tokens_in, max(1, tokens_out // 2)) for tokens_in, tokens_out in lengths]
        concurrency = self.options["concurrency"]
        setting = {
            key: os.environ.get(f"DSR1_STANDIN_{key}") for key in ("TTFT_MS", "TPOT_MS", "ACCEPTANCE", "SEED")
        }
        times = os.environ.get("DSR1_STANDIN_TIMES")
        speed = Speed(
            float(setting["TTFT_MS"] or 240),
            float(setting["TPOT_MS"] or 4.9),
            min(float(setting["ACCEPTANCE"] or 2.8), 1.0 + draft_length(extra, self.version)),
            int(setting["SEED"] or 0),
            Path(times) if times else None,
        )
        served = serve(lengths, concurrency if concurrency > 0 else len(lengths), speed)
        tokens = sum(tokens_out for _, tokens_out in lengths)
        iterating = extra.get("print_iter_log") or extra.get("pytorch_backend_config", {}).get(
            "print_iter_log"
        )
        for step in range(1, 21):
            if iterating:
                self._iteration(step, len(lengths), tokens // 20)
            self._bar(len(lengths) * step // 20, len(lengths))
        self.log(f"Request submission complete. [count={len(lengths)}, time=0.01s, rate=1.00 req/s]")
        if self.failure == "sigint":
            self.log("Keyboard interrupt, exiting benchmark...")
            raise SystemExit(0)
        if self.failure == "requests-failed":
            raise ValueError("Requests failed: the KV cache is full (3 requests)")
        self.log("Benchmark complete.")
        return served

    def _iteration(self, step: int, requests: int, tokens: int) -> None:
        """Log a line of print_iter_log, in the old layout or in the one since 1.1."""
        states = f"states = {{'num_ctx_requests': 0, 'num_ctx_tokens': 0, 'num_generation_tokens': {tokens}}}"
        new = newer(self.version, 1, 1)
        took = "host_step_time = 20.1ms, prev_device_step_time = N/A" if new else "elapsed_time = 0.0201s"
        took += ", timestamp = 2026-11-23 20:00:00, num_scheduled_requests: 2"
        total = f"currank_total_requests = {requests * step // 20}/{requests}"
        self.log(f"iter = {step}, global_rank = 0, rank = 0, {total}, {took}, {states}")

    def _report(self, served: list[Served], extra: dict[str, Any]) -> None:
        if self.failure == "no-report":
            raise SystemExit(0)
        options = self.options
        batch = 2048 if self.failure == "ignored-batch" else options.get("max_batch_size") or 2048
        cache = extra.get("kv_cache_config", {})
        content = rendering.report(
            served,
            version=self.version,
            engine={
                "model": self.group["model"],
                "model_path": str(self.group.get("model_path")),
                "engine_dir": "None",
                "version": "1.2.0",  # the real one reports a wrong version too (#11560)
                "backend": "Pytorch",
                "dtype": "bfloat16",
                "kv_cache_dtype": None,
                "quantization": "FP8_BLOCK_SCALES",
            },
            world={
                "tp_size": options["tp"],
                "pp_size": options["pp"],
                "ep_size": options.get("ep"),
                "world_size": options["tp"] * options["pp"],
                "max_batch_size": batch,
                "max_num_tokens": options.get("max_num_tokens") or 8192,
                "scheduling_policy": options.get("scheduler_policy", "guaranteed_no_evict").upper(),
                "kv_cache_percentage": cache.get(
                    "free_gpu_memory_fraction", options["kv_cache_free_gpu_mem_fraction"]
                ),
            },
            streaming=options["streaming"],
            draft=draft_length(extra, self.version),
            dataset=options["dataset"],
        )
        if self.failure == "nan-report":
            content["performance"]["total_latency_ms"] = float("nan")
        self.log("Benchmark done. Reporting results...")
        self._write("report_json", json.dumps(content, indent=4), "truncated-report")
        if self.failure != "no-requests":
            self._write("request_json", json.dumps(self._requests(served), indent=4), "truncated-requests")
        self.log(rendering.text(content, self.version))

    def _requests(self, served: list[Served]) -> list[dict[str, Any]]:
        """Return the content of --request_json, with times such that the run ends now."""
        origin = time.perf_counter_ns() - served[-1].end
        streaming = self.options["streaming"]
        return [
            {
                "id": r.id,
                "num_input_tokens": r.input_tokens,
                "error_tokens": 0,
                "start_timestamp": origin + r.start,
                "first_token_timestamp": origin + r.first if streaming else -1,
                "end_timestamp": origin + r.end,
                "decode_iteration": r.iterations - 1,
                "num_total_output_tokens": r.output_tokens,
                "num_generated_tokens": r.output_tokens - 1,
                "generation_time": float(r.end - (r.first if streaming else r.start)),
                "time_to_first_token": r.first - r.start if streaming else 0.0,
                "intertoken_latency": (origin + r.end + 1) / max(r.output_tokens - 1, 1),
                "end_to_end_latency": r.end - r.start,
                "output_token_throughput": r.output_tokens / (r.end - r.start),
                "output": "<text>",
                "output_tokens": r.output_tokens,
            }
            for r in served[: -1 if self.failure == "fewer-records" else None]
        ]

    def _write(self, option: str, content: str, truncated: str) -> None:
        if path := self.options.get(option):
            self.log(f"Writing report information to {path}...")
            if newer(self.version, 1, 1):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            cut = len(content) // 2 if self.failure == truncated else len(content)
            Path(path).write_text(content[:cut], encoding="utf-8")


def _worker() -> None:
    """Start a process that leaves the process group and the session, as MPI's workers may."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if pids := os.environ.get("DSR1_STANDIN_PIDS"):
                with Path(pids).open("a", encoding="utf-8") as file:
                    file.write(f"{os.getpid()}\n")
            os.write(write, b"x")
            os.close(1)
            time.sleep(600)
        os._exit(0)
    os.wait()
    os.read(read, 1)
    os.close(read)
    os.close(write)


def main() -> NoReturn:
    program = Program(sys.argv[1:])
    random.seed(0)
    try:
        program.run()
    except Exception:
        if newer(program.version, 1, 1):
            program.log(f"Error during benchmarking:\n{traceback.format_exc()}", "E")
            raise SystemExit(1) from None
        raise
    raise SystemExit(0)
