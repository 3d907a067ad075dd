"""What a server costs: a small workload in process (engine `transformers`), and through a server (`openai`).

    python -m benchmarks.doors [--repetitions 5] [--requests 8] [--threads 1]

The tiny DeepSeek-V3 model of `cpu-min-latency` is made twice from one seed: by the transformers engine, and
as a checkpoint that `transformers serve` serves, on the CPU, one request at a time. The prompts are the same:
the server takes text, and the transformers engine the ids that the server's tokenizer makes of it. The token
counts of each request must be equal; the time per output token is not, and the rows between the two say where
the difference comes from. All are measured by turns, and medians are printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pytest_dsr1.engines.openai.engine import OpenAiEngine
from pytest_dsr1.engines.openai.server.process import launched
from pytest_dsr1.engines.openai.server.random_model import write_model
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.engines.transformers.engine import TransformersEngine
from pytest_dsr1.metrics.catalogue import computed
from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.records import Phase, RequestRecord
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.dataset import inspect_dataset
from pytest_dsr1.workload.deepseek import resolve_config

PROFILE = "cpu-min-latency"
INPUT_TOKENS = 64
OUTPUT_TOKENS = 128
WARMUP = 2
_FIRST_WORD = 259
_LIMIT_S = 600.0


class CpuWatch:
    """An observer that reads how much CPU time the engine's process takes while it is measured."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._process: Any = None
        self._from_s = self.cpu_s = 0.0

    def _now_s(self) -> float:
        import psutil

        if self._process is None:
            below = psutil.Process().children(recursive=True)
            # The last one: the supervisor above it has the same words in its command.
            self._process = [p for p in below if self._words in p.cmdline()][-1]
        used = self._process.cpu_times()
        return float(used.user + used.system)

    def phase(self, phase: Phase, detail: str = "") -> None:  # noqa: ARG002
        """The measurement begins."""
        if phase == "measuring":
            self._from_s = self._now_s()

    def progress(self, requests: int, output_tokens: int) -> None:
        """Not of interest."""

    def record(self, record: RequestRecord) -> None:  # noqa: ARG002
        """A request has ended."""
        self.cpu_s = self._now_s() - self._from_s


@dataclass(frozen=True)
class Row:
    """One way to make the tokens; times in ms a token, NaN where unknown."""

    tpot_ms: float
    cpu_ms: float = float("nan")
    forward_ms: float = float("nan")


class Bench:
    """The model, the requests and the scenarios, in one folder."""

    def __init__(self, folder: Path, requests: int, threads: int) -> None:
        import torch
        from transformers import AutoTokenizer

        from pytest_dsr1.engines.transformers.model import build_model

        torch.set_num_threads(threads)
        self.folder, self.requests, self.threads = folder, requests, threads
        self.checkpoint = folder / "checkpoint"
        self.jobs = 0
        shipped = next(p.path for p in discover([]).shipped if p.name == PROFILE)
        self.base = load(shipped).scenario
        weights = self.base.model.random_weights
        assert weights is not None
        self.config = resolve_config(weights.config)
        write_model(self.base, self.checkpoint)  # the tokenizer
        self.model = build_model(
            self.config, seed=weights.seed, dtype=torch.float32, device=torch.device("cpu")
        )
        self.model.save_pretrained(self.checkpoint)
        tokenizer = AutoTokenizer.from_pretrained(self.checkpoint)
        draw = random.Random(0)
        words = range(_FIRST_WORD, self.config["vocab_size"])
        self.prompts = [tokenizer.decode(draw.choices(words, k=INPUT_TOKENS)) for _ in range(requests)]
        # As the server does it: with whatever special tokens this tokenizer adds.
        self.ids: list[list[int]] = [tokenizer(prompt)["input_ids"] for prompt in self.prompts]

    def scenario(self, engine: dict[str, Any], requests: int) -> Scenario:
        """One request at a time, with this engine."""
        model: dict[str, Any] = {"name": "tiny", "path": str(self.checkpoint)}
        if engine["type"] == "transformers":
            assert self.base.model.random_weights is not None
            model = {"name": "tiny", "random_weights": self.base.model.random_weights.model_dump()}
        return Scenario.model_validate(
            {
                **self.base.model_dump(include={"name", "description", "hardware", "targets"}),
                "model": model,
                "dataset": {"path": "given", "input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
                "load": {"concurrency": 1, "num_requests": requests, "warmup_requests": WARMUP},
                "engine": engine,
            }
        )

    def job(self, engine: dict[str, Any], sources: Sequence[dict[str, Any]]) -> Job:
        """These requests for this engine."""
        self.jobs += 1
        artifacts = self.folder / f"job{self.jobs}"
        artifacts.mkdir()
        path = artifacts / "dataset.jsonl"
        path.write_text("".join(json.dumps({"task_id": i, **s}) + "\n" for i, s in enumerate(sources)))
        of = self.scenario(engine, len(sources))
        return Job(of, inspect_dataset(path, len(sources)), artifacts, _LIMIT_S)

    # The ways

    def in_process(self) -> tuple[Row, EngineResult]:
        """The engine `transformers`."""
        engine = {"type": "transformers", "threads": self.threads}
        sources = [{"input_ids": ids, "output_tokens": OUTPUT_TOKENS} for ids in self.ids]
        watch = CpuWatch("pytest_dsr1.engines.transformers.worker")
        result = TransformersEngine().run(self.job(engine, sources), watch)
        return Row(_tpot_ms(result), watch.cpu_s * 1e3 / (self.requests * OUTPUT_TOKENS)), result

    @contextmanager
    def server(self) -> Iterator[str]:
        """The address of `transformers serve`."""
        program = [sys.executable, "-m", "transformers.cli.transformers"]
        engine = {
            "type": "openai",
            "server": "transformers",
            "command": [*program, "serve", "{model}", "--port", "{port}", "--device", "cpu"],
            "environment": {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(self.threads)},
        }
        job = self.job(engine, [{"prompt": "none", "output_tokens": 1}])
        with launched(job, CpuWatch("")) as server:
            yield server.url

    def served(self, url: str, *, streaming: bool) -> tuple[Row, EngineResult]:
        """The engine `openai`.

        Without streaming TPOT is what an answer takes more than one of a single token, by token.
        """
        lengths = (OUTPUT_TOKENS,) if streaming else (1, OUTPUT_TOKENS)
        engine = {
            "type": "openai",
            "server": "transformers",
            "url": url,
            "served_model": str(self.checkpoint),
            "streaming": streaming,
        }
        sources = [{"prompt": prompt, "output_tokens": n} for prompt in self.prompts for n in lengths]
        watch = CpuWatch("transformers.cli.transformers")
        result = OpenAiEngine().run(self.job(engine, sources), watch)
        cpu_ms = watch.cpu_s * 1e3 / (self.requests * sum(lengths))
        if streaming:
            return Row(_tpot_ms(result), cpu_ms), result
        records = sorted(result.records, key=lambda record: record.id)
        latencies_s = [record.last_token_s - record.submitted_s for record in records]
        more_s = [long - short for short, long in zip(latencies_s[::2], latencies_s[1::2], strict=True)]
        return Row(fmean(more_s) * 1e3 / (OUTPUT_TOKENS - 1), cpu_ms), result

    def own_loop(self) -> Row:
        """The transformers engine's loop here, to see how much of a step the model takes."""
        import torch

        from pytest_dsr1.engines.transformers.model import make_batches

        length = INPUT_TOKENS + OUTPUT_TOKENS + 8
        batch = make_batches(self.model, [1], length, torch.device("cpu"))[1]

        def answer(ids: list[int], mark: Callable[[], None]) -> None:
            batch.prefill(0, [ids])
            mark()
            for _ in range(OUTPUT_TOKENS - 1):
                batch.step()
                mark()

        return self._timed(answer)

    def generate(self) -> Row:
        """The loop that `transformers serve` runs, without the server."""
        import torch
        from transformers import GenerationConfig

        config: Any = GenerationConfig
        exact = config(max_new_tokens=OUTPUT_TOKENS, min_new_tokens=OUTPUT_TOKENS, do_sample=False)

        def answer(ids: list[int], mark: Callable[[], None]) -> None:
            streamer = _Marks(mark)
            self.model.generate(input_ids=torch.tensor([ids]), generation_config=exact, streamer=streamer)

        return self._timed(answer)

    def event_ms(self) -> float:
        """What `transformers serve` computes for a token's event: its text, and the event's JSON."""
        from tokenizers.decoders import DecodeStream
        from transformers import AutoTokenizer
        from transformers.cli.serving.completion import CompletionHandler

        tokenizer: Any = AutoTokenizer.from_pretrained(self.checkpoint)._tokenizer
        handler = object.__new__(CompletionHandler)
        decode = DecodeStream([], skip_special_tokens=True)
        start_s = time.perf_counter()
        for token in self.ids[0]:
            text = decode.step(tokenizer, token)
            handler._build_chunk_sse("request", str(self.checkpoint), text=text or "")
        return (time.perf_counter() - start_s) * 1e3 / len(self.ids[0])

    def _timed(self, answer: Callable[[list[int], Callable[[], None]], None]) -> Row:
        """The time between the marks, one a token, and that in the model's layers."""
        spent: list[float] = []
        inner = self.model.model.forward

        def forward(*arguments: Any, **options: Any) -> Any:
            start_s = time.perf_counter()
            try:
                return inner(*arguments, **options)
            finally:
                spent.append(time.perf_counter() - start_s)

        steps_ms, forwards_ms = [], []
        self.model.model.forward = forward
        try:
            for ids in [*self.ids[:WARMUP], *self.ids]:
                spent.clear()
                marks: list[float] = []
                answer(ids, lambda marks=marks: marks.append(time.perf_counter()))  # type: ignore[misc]
                assert len(marks) == len(spent) == OUTPUT_TOKENS
                steps_ms.append((marks[-1] - marks[0]) * 1e3 / (OUTPUT_TOKENS - 1))
                forwards_ms.append(fmean(spent[1:]) * 1e3)
        finally:
            del self.model.model.forward
        return Row(fmean(steps_ms[WARMUP:]), forward_ms=fmean(forwards_ms[WARMUP:]))


class _Marks:
    """A streamer that marks each token; generate() gives it the prompt first."""

    def __init__(self, mark: Callable[[], None]) -> None:
        self._mark = mark
        self._prompt = True

    def put(self, value: object) -> None:  # noqa: ARG002
        """A token, or the prompt."""
        if not self._prompt:
            self._mark()
        self._prompt = False

    def end(self) -> None:
        """Nothing is left to do."""


def _tpot_ms(result: EngineResult) -> float:
    return computed(MetricInputs(result.records), print)["average_tpot"]


def _counts(result: EngineResult) -> list[tuple[int, int, int]]:
    failed = [record.error for record in result.records if record.error]
    assert not failed, failed[0]
    return sorted((record.id, record.input_tokens, record.output_tokens) for record in result.records)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each of the ways")
    options = parser.parse_args()
    rows: dict[str, list[Row]] = {}
    clients_ms: list[float] = []
    events_ms: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.requests, options.threads)
        with bench.server() as url:
            for _ in range(options.repetitions):
                inside, result = bench.in_process()
                outside, served = bench.served(url, streaming=True)
                assert _counts(result) == _counts(served), (_counts(result), _counts(served))
                for label, row in (
                    ("engine transformers, in process", inside),
                    ("its loop, in this program", bench.own_loop()),
                    ("generate(), in this program", bench.generate()),
                    ("transformers serve, not streamed", bench.served(url, streaming=False)[0]),
                    ("transformers serve, streamed", outside),
                ):
                    rows.setdefault(label, []).append(row)
                events_ms.append(bench.event_ms())
                client: Any = served.facts.other["client"]
                clients_ms.append(client["cpu_s"] * 1e3 / (options.requests * OUTPUT_TOKENS))
    print(
        f"{options.requests} requests of {INPUT_TOKENS} tokens in and {OUTPUT_TOKENS} out, one at a time, "
        f"{options.threads} thread; medians of {options.repetitions}, by turns"
    )
    print("tokens in and out of each request are the same through both doors")
    print(f"{'':<36}{'TPOT ms':>10}{'ratio':>8}{'model ms':>10}{'CPU ms a token':>16}")
    first = median(row.tpot_ms for row in next(iter(rows.values())))
    for label, found in rows.items():
        tpot, forward, cpu = (
            median(getattr(row, what) for row in found) for what in ("tpot_ms", "forward_ms", "cpu_ms")
        )
        shown = ["" if value != value else f"{value:.3f}" for value in (forward, cpu)]  # noqa: PLR0124
        print(f"{label:<36}{tpot:>10.3f}{tpot / first:>8.2f}{shown[0]:>10}{shown[1]:>16}")
    print(f"{'of it text and JSON of an event':<36}{'':>28}{median(events_ms):>16.3f}")
    print(f"{'the client, streamed':<36}{'':>28}{median(clients_ms):>16.3f}")


if __name__ == "__main__":
    main()
