"""The child program of the engine trtllm: ``tensorrt_llm.LLM``, and a closed loop over the requests.

``python -m pytest_dsr1.engines.tensorrt_llm.llm_api.worker JOB.json`` reads a `TrtllmJob` and loads the model
once. It reads orders, one `Order` per line, from standard input, and measures once per order. The line
``stop`` ends a measurement early, and ``ask`` asks the job's questions; the end of the orders ends the
program. It writes the events of :mod:`pytest_dsr1.process.worker`.

Requests are sent and timed as in trtllm-bench (tensorrt_llm/bench/benchmark/utils/asynchronous.py): all wait
for a semaphore of ``concurrency`` slots. The time of a request starts when it has its slot, just before
``generate_async``. Its first token is the first chunk of a stream. ``end_id=-1`` makes every answer exactly
as long as requested.

TensorRT-LLM starts its own processes, which import this module again. So nothing may run outside ``main``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.engines.tensorrt_llm.llm_api.job import (
    Order,
    TrtllmJob,
    draft_length_kept,
    nothing_unknown,
    refusal,
)
from pytest_dsr1.engines.tensorrt_llm.llm_api.requests import Asked, read_items
from pytest_dsr1.engines.trtllm_options.in_effect import options_in_effect
from pytest_dsr1.masking import masked_tree
from pytest_dsr1.process.worker import (
    ASK,
    STOP,
    Events,
    Item,
    WorkerError,
    first_line,
    main,
    warmup_items,
)
from pytest_dsr1.records import Question

STATS_WAIT_S = 0.5
"""The time that one read of iteration statistics waits for the next iteration."""
CLOCK_TOLERANCE_S = 1.0
"""The largest distance of an engine's times from a request's times; beyond it the clocks are different."""
CONTAINER = "run pytest in NVIDIA's container (tensorrt-llm/release) or where TensorRT-LLM is"


def import_library() -> Any:
    """Import and return the package tensorrt_llm.

    Raises:
        WorkerError: the package is missing or broken.
    """
    try:
        import tensorrt_llm
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "tensorrt_llm"
        problem = "is not installed" if missing else f"cannot be imported ({first_line(error)})"
        raise WorkerError(f"tensorrt_llm {problem} in {sys.executable}; {CONTAINER} installed") from error
    return tensorrt_llm


class Server:
    """The loaded model and its measurements.

    All measurements share one event loop, because TensorRT-LLM ties its queue of iteration statistics to the
    first one.
    """

    def __init__(self, job: TrtllmJob, events: Events) -> None:
        self._job, self._events = job, events
        events.send("phase", phase="loading", detail="importing tensorrt_llm")
        library = import_library()
        from tensorrt_llm.llmapi import llm_args, llm_utils

        self._version = str(library.__version__)
        known = llm_args.TorchLlmArgs
        arguments = dict(job.arguments)
        sampling: dict[str, Any] = {"end_id": job.end_id, "pad_id": job.end_id}
        if job.request_timings:
            arguments |= {"return_perf_metrics": True} if "return_perf_metrics" in known.model_fields else {}
            sampling["return_perf_metrics"] = True
        nothing_unknown({**arguments, **job.options}, known, self._version, job.dialect)
        self._items = read_items(job)
        self._questions = Asked(job)
        every = [*self._items, *self._questions.items.values()]
        arguments.setdefault("max_seq_len", max(len(item.input_ids) + item.output_tokens for item in every))
        self._sampling = library.SamplingParams(**sampling)
        gpus = arguments["tensor_parallel_size"] * arguments["pipeline_parallel_size"]
        events.send("phase", phase="loading", detail=f"TensorRT-LLM {self._version} on {gpus} GPUs")
        whole = llm_utils.update_llm_args_with_extra_dict(arguments, copy.deepcopy(job.options))
        draft_length_kept(job.draft_tokens, whole, self._version, job.dialect)
        self._llm = library.LLM(**whole)
        asked = {**arguments, **job.options}
        in_effect = options_in_effect(asked, getattr(self._llm, "args", None), "LLM.args")
        self._in_effect = saved([Option("version", self._version, "tensorrt_llm"), *in_effect])
        self._stopping = asyncio.Event()
        self._reset()

    def _reset(self) -> None:
        self._requests = self._tokens = 0
        self._foreign_clock = False
        self._stopping.clear()

    async def serve(self, lines: asyncio.StreamReader) -> None:
        """Measure once per order until the orders end."""
        next_line = asyncio.ensure_future(lines.readline())
        while line := await next_line:
            next_line = asyncio.ensure_future(lines.readline())
            if line.strip() == STOP.encode():  # that measurement has already ended
                continue
            asks = line.strip() == ASK.encode()
            work = asyncio.ensure_future(self._ask() if asks else self._measure(Order.read(line)))
            await asyncio.wait({work, next_line}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._stopping.set()  # `stop`, or the parent is gone
            await work

    def shutdown(self) -> None:
        """End TensorRT-LLM's own processes."""
        self._llm.shutdown()

    async def _measure(self, order: Order) -> None:
        self._reset()
        events, items = self._events, self._items
        if order.warmup_requests:
            events.send("phase", phase="warm-up", detail=f"{order.warmup_requests} requests")
            warmup = warmup_items(items, order.warmup_requests)
            async for record in self._answers(warmup, order.concurrency, streaming=False):
                if record["error"]:
                    raise WorkerError(f"TensorRT-LLM failed a warm-up request: {record['error']}")
        events.send("phase", phase="measuring", detail=f"{len(items)} requests")
        self._requests = self._tokens = 0
        async with self._iterations():
            async for record in self._answers(items, order.concurrency, streaming=self._job.streaming):
                events.send("record", record=record)
                events.progress(self._requests, self._tokens)
            events.send("phase", phase="finishing")
        if self._foreign_clock:
            events.send(
                "warning",
                message="the engine's request times come from a different clock than pytest-dsr1's, so they "
                "were left out",
            )
        events.send(
            "result",
            versions={"tensorrt_llm": self._version},
            facts={
                "dialect": self._job.dialect,
                "llm": masked_tree({**self._job.arguments, **self._job.options}),
                "options_in_effect": self._in_effect,
            },
        )

    async def _ask(self) -> None:
        """Send an answer to every question; each set with as many at once as it says."""
        self._reset()
        for each in self._questions.sets:
            slots = asyncio.Semaphore(each.at_once)
            await asyncio.gather(*(self._answer_question(question, slots) for question in each.questions))

    async def _answer_question(self, question: Question, slots: asyncio.Semaphore) -> None:
        sampling = copy.copy(self._sampling)
        sampling.max_tokens = question.max_output_tokens
        sampling.end_id = sampling.pad_id = self._questions.end_id if question.ends else -1
        answer: dict[str, Any] = {"id": question.id}
        async with slots:
            if self._stopping.is_set():
                return
            try:
                ids = self._questions.items[question.id].input_ids
                output = self._llm.generate_async(ids, sampling_params=sampling)
                await output.aresult()
                given = output.outputs[0]
                answer |= self._questions.answer(question, list(given.token_ids), given.finish_reason)
            except Exception as problem:  # noqa: BLE001  # TensorRT-LLM's errors have no common class
                answer["error"] = f"{type(problem).__name__}: {first_line(problem)}"
        self._events.send("answer", answer=answer)

    async def _answers(
        self, items: Sequence[Item], concurrency: int, *, streaming: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the record of each request of a closed loop, until all have ended or on ``stop``."""
        slots = asyncio.Semaphore(concurrency)
        done: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        async def one(item: Item) -> None:
            async with slots:
                record = await self._answer(item, streaming=streaming)
            done.put_nowait(record)

        async def stop_requested() -> None:
            await self._stopping.wait()
            done.put_nowait(None)

        tasks = [asyncio.ensure_future(one(item)) for item in items]
        tasks.append(asyncio.ensure_future(stop_requested()))
        try:
            for _ in items:
                record = await done.get()
                if record is None:
                    break
                yield record
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, item: Item, *, streaming: bool) -> dict[str, Any]:
        """Send one request and return the fields of its `RequestRecord`."""
        sampling = copy.copy(self._sampling)
        sampling.max_tokens = item.output_tokens
        first_s = error = None
        output: Any = None
        tokens = 0
        submitted_s = time.monotonic()
        try:
            output = self._llm.generate_async(item.input_ids, sampling_params=sampling, streaming=streaming)
            if streaming:
                async for _ in output:  # yields the same object each time, with more tokens
                    if made := len(output.outputs[0].token_ids):
                        first_s = first_s or time.monotonic()
                    self._tokens += made - tokens
                    tokens = made
                    self._events.progress(self._requests, self._tokens)
            else:
                await output.aresult()
        except asyncio.CancelledError:
            if output is not None:
                output.abort()
            raise
        except Exception as problem:  # noqa: BLE001  # TensorRT-LLM's errors have no common class
            error = f"{type(problem).__name__}: {first_line(problem)}"
        last_s = time.monotonic()
        made = len(output.outputs[0].token_ids) if output is not None else 0
        if error is None and made != item.output_tokens and self._job.end_id == -1:
            error = f"generated {made} tokens, expected {item.output_tokens}"
        self._requests += 1
        self._tokens += made - tokens
        return {
            "id": item.id,
            "submitted_s": submitted_s,
            "first_token_s": first_s,
            "last_token_s": last_s,
            "input_tokens": len(item.input_ids),
            "output_tokens": made,
            "decoding_iterations": None if error else output.decoding_iter + 1,
            "error": error,
            "engine": None if error else self._times(output, submitted_s, last_s),
        }

    def _times(self, output: Any, submitted_s: float, last_s: float) -> dict[str, float] | None:
        """Return the request's times inside the engine; TensorRT-LLM uses the steady clock, as we do."""
        metrics = getattr(output.outputs[0], "request_perf_metrics", None)
        if metrics is None:
            return None
        timing = metrics.timing_metrics
        times = {
            "arrival_s": timing.arrival_time.total_seconds(),
            "first_scheduled_s": timing.first_scheduled_time.total_seconds(),
            "first_token_s": timing.first_token_time.total_seconds(),
            "last_token_s": timing.last_token_time.total_seconds(),
        }
        if submitted_s - CLOCK_TOLERANCE_S <= min(times.values()) <= last_s + CLOCK_TOLERANCE_S:
            return times
        self._foreign_clock = True
        return None

    @contextlib.asynccontextmanager
    async def _iterations(self) -> AsyncIterator[None]:
        """Send iteration statistics while the block runs, and the rest of them afterwards."""
        over = asyncio.Event()

        async def watch() -> None:
            last = False
            while not last:
                last = over.is_set()
                async for stats in self._llm.get_stats_async(STATS_WAIT_S):
                    self._events.send("iteration", iteration=sample(stats))
                await asyncio.sleep(0)  # with a full queue nothing above yields to the event loop

        if not self._job.iteration_stats:
            yield
            return
        watching = asyncio.ensure_future(watch())
        try:
            yield
            over.set()
            await watching
        finally:
            watching.cancel()


def sample(stats: Any) -> dict[str, Any]:
    """Return an iteration's statistics as fields of an `IterationSample`; every key may be missing."""
    fields = json.loads(stats) if isinstance(stats, str) else stats
    batch = fields.get("inflightBatchingStats") or {}
    cache = fields.get("kvCacheStats") or {}
    blocks = cache.get("maxNumBlocks")
    return {
        "time_s": time.monotonic(),
        "iteration": fields.get("iter"),
        "latency_ms": fields.get("iterLatencyMS"),
        "scheduled_requests": batch.get("numScheduledRequests"),
        "context_requests": batch.get("numContextRequests"),
        "queued_requests": fields.get("numQueuedRequests"),
        "kv_cache_used_share": cache.get("usedNumBlocks", 0) / blocks if blocks else None,
        "rank": fields.get("attentionDpRank"),
    }


async def _serve(server: Server, stream: Any) -> None:
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), stream
    )
    try:
        await server.serve(lines)
    finally:
        transport.close()


def work(job: Path, events: Events, stream: BinaryIO) -> None:
    """Run the job of the job file."""
    server = Server(TrtllmJob.load(job), events)
    try:
        asyncio.run(_serve(server, stream))
    finally:
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], work, refusal))
