"""A server with OpenAI's protocol, as correct or as broken as a test needs: raw bytes over a socket."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = bytes | Iterable[bytes | str]
"""Bytes to send at once, or in pieces (a generator may wait between them and record when each is written).
The piece ``close`` ends the connection, ``hang`` waits, and ``drop the next`` waits for the next request and
ends the connection without reading it."""

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(fields: object) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def text(words: str, key: str = "text") -> bytes:
    """Return an event with text: ``text`` of a completion, or another key in the delta of a chat."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": None}
    choice |= {"text": words} if key == "text" else {"delta": {key: words}}
    return event({"object": "chunk", "choices": [choice]})


def usage(tokens: int, prompt: int = 8) -> bytes:
    """Return the event with the token counts."""
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": tokens}})


FINISH = event({"choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": "length"}]})
DONE = b"data: [DONE]\n\n"


def stream(*events: bytes) -> bytes:
    """Return a whole streamed answer."""
    return STREAM_HEAD + b"".join(map(chunk, events)) + chunk(b"")


GOOD = stream(text(" a"), text(" b"), text(" c"), text(" d"), FINISH, usage(4), DONE)
"""Four tokens for a prompt of eight."""


def plain(status: str, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    """Return an answer that is not streamed."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


MODELS = plain("200 OK", b'{"data": [{"id": "served"}]}')


@dataclass
class Seen:
    """The requests that the server got."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0


@contextmanager
def serving(
    answer: Callable[[dict[str, Any]], Answer],
    *,
    greeting: bytes = b"",
    greeted: int | None = None,
    tls: ssl.SSLContext | None = None,
    seen: Seen | None = None,
    pages: Mapping[str, Callable[[], Answer]] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[int]:
    """Yield the port of a server that gives ``answer`` to each request; end its threads on leaving.

    A GET is answered by the path's function in ``pages``, else with the list of models. ``greeting`` is sent
    before the first request of each connection, or only of connection number ``greeted``, counted from 1.
    """
    seen = seen or Seen()
    pages = pages or {}
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=64)
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def talk(plain_sock: socket.socket, number: int) -> None:
        try:
            sock = tls.wrap_socket(plain_sock, server_side=True) if tls else plain_sock
            open_sockets.append(sock)
            if greeted in {None, number}:
                sock.sendall(greeting)
            with sock, sock.makefile("rb") as file:
                while head := _head(file):
                    length = next((int(h[15:]) for h in head if h.lower().startswith(b"content-length:")), 0)
                    body = json.loads(file.read(length) or b"{}")
                    seen.heads.append(b"\n".join(head))
                    if head[0].startswith(b"GET"):
                        page = pages.get(head[0].split()[1].decode())
                        if not _send(sock, page() if page else MODELS):
                            return
                        continue
                    seen.bodies.append(body)
                    if not _send(sock, answer(body)):
                        return
        except (OSError, ValueError):  # the client left
            return

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            seen.connections += 1
            open_sockets.append(sock)
            threads.append(threading.Thread(target=talk, args=(sock, seen.connections), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for sock in open_sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in threads:
            thread.join()


def _head(file: Any) -> list[bytes]:
    lines: list[bytes] = []
    while (line := file.readline().rstrip(b"\r\n")) or not lines:
        if not line:
            return []
        lines.append(line)
    return lines


def _send(sock: socket.socket, answer: Answer) -> bool:
    """Send an answer; return whether the connection stays open."""
    for piece in [answer] if isinstance(answer, bytes) else answer:
        if piece == "close":
            sock.shutdown(socket.SHUT_RDWR)
            return False
        if piece == "drop the next":
            sock.recv(1, socket.MSG_PEEK)
            return False
        if piece == "hang":
            sock.recv(1)
            return False
        assert isinstance(piece, bytes)
        sock.sendall(piece)
    return True
