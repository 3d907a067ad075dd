"""A server with OpenAI's protocol whose answer to a search is known: one queue, first come first served.

Each request is served alone, for an exponential time, and all its tokens are sent together at the end. With N
requests in flight, each waits for N services: its time is an Erlang variable, as in
:class:`benchmarks.search.queues.ClosedQueue`.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
from concurrent.futures import Future
from statistics import fmean
from types import TracebackType

_MODELS = json.dumps({"object": "list", "data": [{"id": "queue", "object": "model"}]}).encode()
_DONE = b"data: [DONE]\n\n"


class QueueServer:
    """The server, in a thread, while the context is open.

    Args:
        mean_s: the mean service time.
        seed: of the service times.

    Attributes:
        url: its address.
        service_s: the service time of each answered request. A late answer does not delay the next service,
            which begins when this one was due.
    """

    def __init__(self, mean_s: float, seed: int) -> None:
        self.url = ""
        self.service_s: list[float] = []
        self._mean_s = mean_s
        self._draws = random.Random(seed)
        self._free_s = 0.0
        self._ready: Future[str] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> QueueServer:
        self._thread.start()
        self.url = self._ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @property
    def mean_service_ms(self) -> float:
        """The mean service time, to compare with the nominal one; NaN if nothing was asked."""
        return fmean(self.service_s or [math.nan]) * 1e3

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self._ready.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await self._over.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection, one after the other, until the client closes it."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = re.search(r"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(size[1]) if size else 0)
                target = head.split(" ", 2)[1]
                if target == "/v1/completions":
                    writer.write(_http("200 OK", "text/event-stream", await self._answer(json.loads(body))))
                elif target in {"/v1/models", "/health"}:
                    writer.write(_http("200 OK", "application/json", _MODELS))
                else:
                    writer.write(_http("404 Not Found", "application/json", b"{}"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, asked: dict[str, object]) -> bytes:
        """Wait for the requests before this one and for its own service; return its stream."""
        now_s = self._loop.time()
        service_s = self._draws.expovariate(1 / self._mean_s)
        due_s = self._free_s = max(now_s, self._free_s) + service_s
        await asyncio.sleep(due_s - now_s)
        self.service_s.append(service_s)
        return _stream(int(str(asked["max_tokens"])), len(str(asked["prompt"]).split()))


def _http(status: str, kind: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _stream(tokens: int, prompt_tokens: int) -> bytes:
    """Return the events of an answer: its tokens, then their number."""
    fields = {"id": "queue", "object": "text_completion", "created": 0, "model": "queue"}
    events: list[dict[str, object]] = [
        {"choices": [{"index": 0, "text": " tok", "finish_reason": "length" if last else None}]}
        for last in (False,) * (tokens - 1) + (True,)
    ]
    used = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}
    used["total_tokens"] = sum(used.values())
    events.append({"choices": [], "usage": used})
    return b"".join(b"data: " + json.dumps(fields | event).encode() + b"\n\n" for event in events) + _DONE
