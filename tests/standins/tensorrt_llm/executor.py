"""The process that the stand-in starts: it steps over batches of requests, with a fixed time per step.

It makes tokens from a seed. With dummy weights and the environment variable DSR1_STANDIN_MODEL=embedded it
uses the transformers engine's model instead, with the configuration in the model's folder.
"""

from __future__ import annotations

import json
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FAIL = os.environ.get("DSR1_STANDIN_FAIL", "")
STEP_S = float(os.environ.get("DSR1_STANDIN_STEP_S", "0.0005"))
DIES_AFTER = int(os.environ.get("DSR1_STANDIN_DIES_AFTER", "1000000"))
BLOCKS = 1000


class Request:
    def __init__(self, message: dict[str, Any]) -> None:
        self.id: int = message["id"]
        self.input_ids: list[int] = message["input_ids"]
        self.max_tokens: int = message["max_tokens"] - (FAIL == "short" and self.id == 2)
        self.end_id: int = message["end_id"]
        self.streaming: bool = message["streaming"]
        self.metrics: bool = message["metrics"]
        self.times = [message["arrival_s"]]
        self.made = self.iterations = 0
        self.unsent: list[int] = []
        self.reason = "length"


class Seeded:
    """Tokens from a seed; with drafts, several per step."""

    def __init__(self, drafts: int) -> None:
        self._random, self._drafts = random.Random(0), drafts

    def steps(self, group: list[Request]) -> Iterator[list[list[int]]]:
        while True:
            time.sleep(STEP_S)
            yield [[7] * self._random.randint(1, 1 + self._drafts) for _ in group]


class Embedded:
    """Greedy tokens of the transformers engine's model."""

    def __init__(self, folder: Path) -> None:
        import torch

        from pytest_dsr1.engines.transformers.model import build_model

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        known = {k: v for k, v in config.items() if k not in {"architectures", "model_type", "torch_dtype"}}
        torch.set_num_threads(1)
        self._device = torch.device("cpu")
        self._model = build_model(known, seed=0, dtype=torch.float32, device=self._device)

    def steps(self, group: list[Request]) -> Iterator[list[list[int]]]:
        from pytest_dsr1.engines.transformers.model import make_batches

        longest = max(len(request.input_ids) + request.max_tokens for request in group) + 1
        batch = make_batches(self._model, [len(group)], longest, self._device)[len(group)]
        batch.prefill(0, [request.input_ids for request in group])
        made = 0
        while True:
            yield [
                [int(batch.history[row, len(request.input_ids) + made])] if made < request.max_tokens else []
                for row, request in enumerate(group)
            ]
            made += 1
            batch.step()


class Executor:
    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        embedded = job["dummy"] and os.environ.get("DSR1_STANDIN_MODEL") == "embedded"
        self._model = Embedded(Path(job["model"])) if embedded else Seeded(job["drafts"])
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._iteration = self._done = 0
        self._aborted: set[int] = set()

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        waiting: list[Request] = []
        while (message := self._inbox.get()) is not None:
            waiting += self._taken(message)
            time.sleep(STEP_S)  # requests that come together are served together
            while not self._inbox.empty() and (more := self._inbox.get()) is not None:
                waiting += self._taken(more)
            size = self._job["max_batch_size"]
            while waiting:
                group, waiting = waiting[:size], waiting[size:]
                self._serve(group, len(waiting))

    def _listen(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "abort" in message:
                self._aborted.add(message["abort"])
            else:
                self._inbox.put(message)
        self._inbox.put(None)
        os._exit(0)

    def _taken(self, message: dict[str, Any]) -> list[Request]:
        request = Request(message)
        if FAIL == "request" and request.id == 2:
            send({"id": 2, "error": "the request exceeds max_num_tokens"})
            return []
        return [request]

    def _serve(self, group: list[Request], queued: int) -> None:
        steps = self._model.steps(group)
        for request in group:
            request.times.append(time.monotonic())
        first = True
        while alive := [r for r in group if r.made < r.max_tokens and r.id not in self._aborted]:
            for request, tokens in zip(group, next(steps), strict=True):
                if request in alive:
                    self._give(request, tokens[: request.max_tokens - request.made])
            self._send_stats(alive, queued, first)
            first = False

    def _give(self, request: Request, tokens: list[int]) -> None:
        now = time.monotonic()
        if not request.made:
            request.times.append(now)
        if request.end_id in tokens:
            tokens = tokens[: tokens.index(request.end_id) + 1]
            request.max_tokens = request.made + len(tokens)
            request.reason = "stop"
        request.made += len(tokens)
        request.iterations += 1
        request.unsent += tokens
        final = request.made >= request.max_tokens
        if not (final or request.streaming):
            return
        answer = {
            "id": request.id,
            "tokens": request.unsent,
            "iteration": request.iterations - 1,
            "final": final,
            "reason": request.reason if final else None,
        }
        request.unsent = []
        if final:
            answer |= {"times": [*request.times, now]} if request.metrics else {}
            self._done += 1
        if self._done > DIES_AFTER:
            os._exit(1)
        if self._done > 2:
            self._fail()
        send(answer)

    def _fail(self) -> None:
        if FAIL == "hang":
            threading.Event().wait()
        if FAIL == "memory":
            print(
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
                file=sys.stderr,
                flush=True,
            )
        if FAIL in {"worker", "memory"}:
            os._exit(1)

    def _send_stats(self, alive: list[Request], queued: int, first: bool) -> None:
        if self._job["stats"]:
            self._iteration += 1
            used = sum(len(r.input_ids) + r.made for r in alive)
            send(
                {
                    "stats": {
                        "iter": self._iteration,
                        "iterLatencyMS": STEP_S * 1e3,
                        "numQueuedRequests": queued,
                        "kvCacheStats": {"maxNumBlocks": BLOCKS, "usedNumBlocks": used},
                        "inflightBatchingStats": {
                            "numScheduledRequests": len(alive),
                            "numContextRequests": len(alive) if first else 0,
                        },
                    }
                }
            )


def send(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    Executor(json.loads(sys.argv[1])).run()
