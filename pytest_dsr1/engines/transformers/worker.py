r"""The child program of the transformers engine: runs a DeepSeek-V3-architecture model and times it.

`python -m pytest_dsr1.engines.transformers.worker JOB.json` reads a `WorkerJob` and writes the events of
:mod:`pytest_dsr1.process.worker`. Apart from the standard library it needs torch and transformers. To run it
by hand in a clone:

    printf '{"task_id": %d, "input_ids": [5, 6, 7, 8], "output_tokens": 16}\n' $(seq 0 7) > data.jsonl
    echo '{"dataset": "data.jsonl", "concurrency": 4, "num_requests": 8, "warmup_requests": 4,
           "device": "cuda", "dtype": "bfloat16", "compile": true,
           "config": {"num_hidden_layers": 4, "first_k_dense_replace": 1}}' > job.json
    python -m pytest_dsr1.engines.transformers.worker job.json

The load is a closed loop of batches: ``concurrency`` requests are submitted together, prefilled, and decoded
in lockstep. The next batch starts when the longest of these answers has ended. Every answer has exactly the
requested length: tokens are chosen greedily and no token ends an answer. On the line ``stop`` the current
batch is given up, and the result has only the batches before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.engines.transformers.job import WorkerJob, batched, prefill_chunks, read_asked, read_items
from pytest_dsr1.process.worker import (
    Events,
    Item,
    StopLine,
    WorkerError,
    first_line,
    main,
    warmup_items,
)
from pytest_dsr1.records import Question
from pytest_dsr1.text import did_you_mean
from pytest_dsr1.workload.deepseek import config_problems, parameter_count, resolve_config

if TYPE_CHECKING:
    import torch

    from pytest_dsr1.engines.transformers.model import Batch

SYNCHRONIZE_STEPS = 16
"""Decode steps between two synchronizations with the device; rare enough to cost nothing."""
GIB = 1 << 30
_EAGER = "eager"


def check_config(job: WorkerJob, config: dict[str, Any], known: frozenset[str]) -> None:
    """Refuse fields that transformers does not know and values that no model can have.

    Raises:
        WorkerError: one sentence with all problems.
    """
    unknown = sorted(set(job.config) - known)
    problems = [f"unknown field {name}{did_you_mean(name, known)}" for name in unknown]
    if problems := problems + config_problems(config):
        raise WorkerError(f"model.random_weights.config: {'; '.join(problems)}")


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the user decided otherwise.

    They spin by default, and a spinning thread takes the processor from the one that it waits for. Next to
    other work this made a run on 2 CPUs up to 30 times slower. Must be called before OpenMP is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def import_libraries() -> dict[str, str]:
    """Import torch and transformers; return their versions.

    Raises:
        WorkerError: one is missing or broken, with the command that installs it.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing may be downloaded, including kernels
    os.environ["USE_HUB_KERNELS"] = "0"
    versions = {"python": platform.python_version()}
    for name, install in (
        (
            "torch",
            "install PyTorch (without a GPU its CPU build; see its Start Locally page), "
            "then `pip install 'pytest-dsr1[transformers]'`",
        ),
        ("transformers", "install it with `pip install 'pytest-dsr1[transformers]'`"),
    ):
        try:
            versions[name] = __import__(name).__version__
        except (ImportError, OSError) as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == name
            problem = "is not installed" if missing else f"cannot be imported ({first_line(error)})"
            raise WorkerError(f"{name} {problem} in {sys.executable}: {install}") from error
    return versions


def choose_device(job: WorkerJob) -> torch.device:
    """Return the device after checking that it exists.

    Raises:
        WorkerError: there is no CUDA device, or `compile` is asked for on the CPU.
    """
    import torch

    if job.device == "cuda" and not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU build"
        raise WorkerError(
            f"engine.device is cuda, but torch {torch.__version__} ({build}) finds no CUDA device; look at "
            "`nvidia-smi` and CUDA_VISIBLE_DEVICES, install a CUDA build of torch, or set engine.device=cpu"
        )
    if job.device == "cpu":
        if job.compile:
            raise WorkerError(
                "engine.compile makes a CUDA graph of the decode step: set engine.device=cuda too"
            )
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(job.threads or available)
    return torch.device(job.device, 0) if job.device == "cuda" else torch.device("cpu")


def check_memory(needed: int, device: torch.device) -> None:
    """Refuse a model whose weights do not fit, before the machine runs out of memory.

    Raises:
        WorkerError: the weights are larger than the free memory; the message has both sizes.
    """
    import torch

    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        try:
            lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        except OSError:  # macOS
            return
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    if needed > free:
        raise WorkerError(
            f"the model's weights take {needed / GIB:.1f} GiB, but {device} has {free / GIB:.1f} GiB free; "
            "lower num_hidden_layers or n_routed_experts in model.random_weights.config"
        )


class Run:
    """One measurement: the model on its device, and the loop over the batches."""

    def __init__(
        self,
        job: WorkerJob,
        events: Events,
        stop_requested: Callable[[], bool],
        asked: Callable[[], bool] = lambda: True,
    ) -> None:
        self._job = job
        self._events = events
        self._stop_requested = stop_requested
        self._asked = asked
        self._requests = 0
        self._tokens = 0
        self._answers = hashlib.sha256()

    def run(self) -> None:
        """Build the model, warm up, measure, and send the result.

        Raises:
            WorkerError: there is no measurement.
        """
        job, events = self._job, self._events
        events.send("phase", phase="loading", detail="importing torch and transformers")
        if job.device == "cpu":
            wait_passively()
        versions = import_libraries()
        import torch

        from pytest_dsr1.engines.transformers.model import build_model, config_fields, make_batches

        config = resolve_config(job.config)
        check_config(job, config, config_fields())
        items = read_items(Path(job.dataset), job.num_requests, config["vocab_size"])
        self._device = choose_device(job)
        dtype: torch.dtype = getattr(torch, job.dtype)
        weight_bytes = parameter_count(config) * dtype.itemsize
        check_memory(weight_bytes, self._device)
        events.send("phase", phase="loading", detail=f"making {weight_bytes / GIB:.2f} GiB of random weights")
        try:
            model = build_model(config, seed=job.seed, dtype=dtype, device=self._device)
        except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
            raise WorkerError(
                f"model.random_weights.config: transformers refused it: {first_line(error)}"
            ) from error

        warmup = batched(warmup_items(items, job.warmup_requests), job.concurrency)
        measured = batched(items, job.concurrency)
        # One more slot than the longest answer needs, for the step that counts experts afterwards.
        length = max(len(item.input_ids) for item in items) + max(item.output_tokens for item in items) + 1
        asked = read_asked(job.questions, config["vocab_size"])
        sizes = sorted({len(batch) for batch in [*warmup, *measured]}, reverse=True)
        batches = make_batches(model, sizes, -(-length // 8) * 8, self._device)
        steps = {size: self._prepare(size, batch) for size, batch in batches.items()}

        if warmup:
            events.send("phase", phase="warm-up", detail=f"{job.warmup_requests} requests")
            for group in warmup:
                self._answer(batches[len(group)], group, measured=False)
        events.send("phase", phase="measuring", detail=f"{job.num_requests} requests")
        for group in measured:
            if self._stop_requested():
                break
            self._answer(batches[len(group)], group, measured=True)
        events.send("phase", phase="finishing")

        if not all(bool(batch.finite) for batch in batches.values()):
            raise WorkerError(
                "the model's logits are not finite, so the run does not count; use dtype bfloat16 or float32 "
                "and DeepSeek-R1's own rope and scaling fields"
            )
        if self._device.type == "cuda":
            versions["cuda"] = str(torch.version.cuda)
        full = len(measured[0])
        events.send(
            "result",
            versions=versions,
            facts={
                "options_in_effect": saved(self._options_in_effect(model, steps[full])),
                "device": torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu",
                "threads": torch.get_num_threads() if self._device.type == "cpu" else None,
                "openmp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
                "weights": f"random, seed {job.seed}; every logit was finite",
                "parameters": parameter_count(config),
                "weight_bytes": weight_bytes,
                "decode_step": steps[full],
                "experts_implementation": getattr(model.config, "_experts_implementation", None) or "eager",
                "batch_size": full,
                "distinct_experts_observed": batches[full].distinct_experts(),
                "answers_sha256": self._answers.hexdigest(),
            },
        )
        self._ask(model, asked)

    def _options_in_effect(self, model: Any, step: str) -> Iterator[Option]:
        """Yield what the built model really has, and whether its decode step is in a CUDA graph."""
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        yield Option("dtype", dtype, "model", self._job.dtype)
        yield Option("cuda_graphs", step != _EAGER, "decode_step", self._job.compile)
        yield Option("attention_backend", model.config._attn_implementation, "model.config")

    def _ask(self, model: Any, asked: Sequence[tuple[Question, Item]]) -> None:
        """Answer each question alone, with a step like the measured one."""
        from pytest_dsr1.engines.transformers.model import make_batches

        if not (asked and self._asked()):
            return
        length = max(len(item.input_ids) + item.output_tokens for _, item in asked)
        batch = make_batches(model, [1], -(-length // 8) * 8, self._device)[1]
        self._prepare(1, batch)
        for question, item in asked:
            self._answer(batch, [item], measured=False)
            start = len(item.input_ids)
            tokens = batch.history[0, start : start + item.output_tokens].tolist()
            self._events.send("answer", answer={"id": question.id, "tokens": tokens})

    def _prepare(self, size: int, batch: Batch) -> str:
        """Compile and capture the decode step if the job asks for it; return the name of the step used."""
        if not self._job.compile:
            return _EAGER
        for fuse, name in ((True, "torch.compile in a CUDA graph"), (False, "CUDA graph, not compiled")):
            self._events.send("phase", phase="loading", detail=f"decode step of batch {size}: {name}")
            try:
                batch.capture(fuse=fuse)
            except Exception as error:  # noqa: BLE001  # torch raises anything here; the warning reports it
                self._synchronize()
                self._events.send(
                    "warning",
                    message=f"decode step of batch {size}: {name} failed ({type(error).__name__}: "
                    f"{first_line(error)}), so a slower one is used",
                )
            else:
                return name
        return _EAGER

    def _answer(self, batch: Batch, group: Sequence[Item], *, measured: bool) -> None:
        """Run one batch of requests to the end; on ``stop`` only to the next synchronization."""
        submitted_s = time.monotonic()
        first_s: list[float] = []
        for first_row, inputs in prefill_chunks(group):
            batch.prefill(first_row, inputs)
            self._synchronize()
            first_s += [time.monotonic()] * len(inputs)
        last_s = list(first_s)
        ends = {item.output_tokens for item in group}
        for made in range(2, max(ends) + 1):
            batch.step()
            if made in ends or made % SYNCHRONIZE_STEPS == 0:
                self._synchronize()
                now = time.monotonic()
                for row, item in enumerate(group):
                    if item.output_tokens == made:
                        last_s[row] = now
                if measured:
                    if made < max(ends) and self._stop_requested():
                        return
                    so_far = sum(min(made, item.output_tokens) for item in group)
                    done = sum(item.output_tokens <= made for item in group)
                    self._events.progress(self._requests + done, self._tokens + so_far)
        if measured:
            self._record(batch, group, submitted_s, first_s, last_s)

    def _record(
        self,
        batch: Batch,
        group: Sequence[Item],
        submitted_s: float,
        first_s: list[float],
        last_s: list[float],
    ) -> None:
        history = batch.history.cpu()
        for row, item in enumerate(group):
            start = len(item.input_ids)
            answer = history[row, start : start + item.output_tokens].tolist()
            self._answers.update(json.dumps(answer).encode())
            self._requests += 1
            self._tokens += item.output_tokens
            self._events.send(
                "record",
                record={
                    "id": item.id,
                    "submitted_s": submitted_s,
                    "first_token_s": first_s[row],
                    "last_token_s": last_s[row],
                    "input_tokens": start,
                    "output_tokens": item.output_tokens,
                    "decoding_iterations": item.output_tokens,
                },
            )

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)


def explain(error: Exception) -> str:
    """Return one sentence for an unexpected error, for example CUDA's out of memory."""
    text = first_line(error)
    if type(error).__name__ == "OutOfMemoryError":
        return (
            f"CUDA is out of memory ({text}); lower load.concurrency, the lengths, or num_hidden_layers or "
            "n_routed_experts in model.random_weights.config"
        )
    return f"the transformers engine failed: {type(error).__name__}: {text}"


def work(job: Path, events: Events, stream: BinaryIO) -> None:
    """Run the job of the job file."""
    commands = StopLine(stream)
    Run(WorkerJob.load(job), events, commands, commands.asked).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], work, explain))
