"""`tensorrt_llm.LLM` as documented: requests go to its own process, and tokens come back one by one."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.helpers.environment import without_coverage
from tests.standins.tensorrt_llm.arguments import TorchLlmArgs

_FAIL = os.environ.get("DSR1_STANDIN_FAIL", "")
_UNASKED_DRAFTS = int(os.environ.get("DSR1_STANDIN_DRAFTS", "0"))
_FOREIGN_CLOCK = timedelta(days=3650)

if _FAIL == "import":
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")


class RequestError(RuntimeError):
    pass


@dataclass
class SamplingParams:
    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int = 32
    ignore_eos: bool = False
    return_perf_metrics: bool = False


@dataclass
class TimingMetrics:
    arrival_time: timedelta
    first_scheduled_time: timedelta
    first_token_time: timedelta
    last_token_time: timedelta


@dataclass
class RequestPerfMetrics:
    timing_metrics: TimingMetrics


@dataclass
class CompletionOutput:
    index: int = 0
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    request_perf_metrics: RequestPerfMetrics | None = None


class RequestOutput:
    """The output of a request, updated in place: awaited with `aresult`, or iterated if it streams."""

    def __init__(self, llm: LLM, request_id: int, ids: list[int], streaming: bool) -> None:
        self.request_id = self.id = request_id
        self.prompt_token_ids = ids
        self.outputs = [CompletionOutput()]
        self.finished = False
        self.decoding_iter = 0
        self._llm, self._streaming = llm, streaming
        self._steps: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, step: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self._steps.put_nowait, step)

    def abort(self) -> None:
        self._llm.send({"abort": self.id})

    async def _step(self) -> None:
        step = await self._steps.get()
        if "error" in step:
            self.finished = True
            raise RequestError(step["error"])
        output = self.outputs[0]
        output.token_ids += step["tokens"]
        self.decoding_iter = step["iteration"]
        self.finished = step["final"]
        output.finish_reason = step["reason"]
        if times := step.get("times"):
            off = _FOREIGN_CLOCK if _FAIL == "clock" else timedelta()
            timing = TimingMetrics(*(timedelta(seconds=time_s) + off for time_s in times))
            output.request_perf_metrics = RequestPerfMetrics(timing)

    async def aresult(self) -> RequestOutput:
        while not self.finished:
            await self._step()
        return self

    async def __aiter__(self) -> AsyncIterator[RequestOutput]:
        if not self._streaming:
            raise RuntimeError("the request does not stream")
        while not self.finished:
            await self._step()
            yield self


class LLM:
    def __init__(self, model: str, **kwargs: Any) -> None:
        self.args = args = TorchLlmArgs(model=model, **kwargs)
        for name, value in json.loads(os.environ.get("DSR1_STANDIN_IN_EFFECT", "{}")).items():
            setattr(args, name, value)
        gpus, needed = int(os.environ.get("DSR1_STANDIN_GPUS", "8")), args.tensor_parallel_size
        needed *= args.pipeline_parallel_size
        if needed > gpus:
            raise RuntimeError(f"Only {gpus} GPUs are available, but {needed} are required.")
        print("Loading safetensors weights in parallel:  50%|#####     | 4/8", flush=True)
        time.sleep(float(os.environ.get("DSR1_STANDIN_LOAD_S", "0")))
        job = {
            "model": model,
            "dummy": args.load_format == "dummy",
            "max_batch_size": args.max_batch_size or 2048,
            "drafts": args.speculative_config.drafts if args.speculative_config else _UNASKED_DRAFTS,
            "stats": args.enable_iter_perf_stats,
        }
        # It has its own session: it leaves the process group, like MPI's workers. It has nothing to cover.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.standins.tensorrt_llm.executor", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**without_coverage(), "PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
            start_new_session=True,
        )
        if pids := os.environ.get("DSR1_STANDIN_PIDS"):
            with Path(pids).open("a", encoding="utf-8") as file:
                file.write(f"{self._process.pid}\n")
        if _FAIL == "load-memory":
            raise type("OutOfMemoryError", (RuntimeError,), {})(
                "CUDA out of memory. Tried to allocate 1.31 GiB. GPU 0 has a total capacity of 139.81 GiB"
            )
        if _FAIL == "load-hang":
            threading.Event().wait()
        if _FAIL == "load-exit":
            os._exit(255)
        self._requests: dict[int, RequestOutput] = {}
        self._ids = itertools.count(1)
        self._stats: list[str] = []
        self._stats_loop: asyncio.AbstractEventLoop | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def generate_async(
        self,
        inputs: list[int],
        sampling_params: SamplingParams | None = None,
        lora_request: None = None,
        streaming: bool = False,
    ) -> RequestOutput:
        sampling = sampling_params or SamplingParams()
        if sampling.end_id is None:
            raise ValueError("end_id must be given where the tokenizer is not loaded")
        longest = self.args.max_seq_len
        if longest is not None and len(inputs) + sampling.max_tokens > longest:
            raise ValueError(f"prompt and max_tokens should not exceed max_seq_len ({longest})")
        output = RequestOutput(self, next(self._ids), inputs, streaming)
        self._requests[output.id] = output
        self.send(
            {
                "id": output.id,
                "input_ids": inputs,
                "max_tokens": sampling.max_tokens,
                "end_id": sampling.end_id,
                "streaming": streaming,
                "metrics": sampling.return_perf_metrics,
                "arrival_s": time.monotonic(),
            }
        )
        return output

    async def get_stats_async(self, timeout: float = 2) -> AsyncIterator[dict[str, Any]]:
        """Yield new statistics; only in the event loop of the first call, like the real one."""
        loop = asyncio.get_running_loop()
        self._stats_loop = self._stats_loop or loop
        if self._stats_loop is not loop:
            raise RuntimeError("got Future attached to a different loop")
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            while self._stats:
                yield json.loads(self._stats.pop(0))
            await asyncio.sleep(0.005)

    def shutdown(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the real one does not notice that the process is gone

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "stats" in message:
                self._stats.append(json.dumps(message["stats"]))
            elif output := self._requests.get(message["id"]):
                output.put(message)
