"""A server that the engine `openai` starts: `python started_server.py PORT [ARGUMENT ...]`.

It writes its process id to the file ``pid`` in its folder, and logs each request. A request with the field
``interrupt`` gets no answer; the server sends SIGINT to the process STANDIN_INTERRUPTS instead. A request
with the field ``fail`` gets an error. The prompt ``die`` ends the server, and ``leave`` does so slowly: it
accepts no connection any more, and ends two seconds later. The prompt ``memory`` logs that there is none
left, and gets an error.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

NO_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
    "139.80 GiB of which 1.20 GiB is free."
)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": "started"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"asked {asked['prompt'][0]} of {asked['model']}", flush=True)
        if "interrupt" in asked:
            os.kill(int(os.environ["STANDIN_INTERRUPTS"]), signal.SIGINT)
            threading.Event().wait()
        if asked["prompt"] == "die":
            os._exit(7)
        if asked["prompt"] == "leave":
            self.close_connection = True
            threading.Thread(target=server.shutdown).start()
            return
        if asked["prompt"] == "memory":
            print(NO_MEMORY, flush=True)
        if "fail" in asked or asked["prompt"] == "memory":
            self.answer(500, {"error": "no"})
        else:
            self.answer(
                200,
                {"choices": [{"text": " a b c d"}], "usage": {"prompt_tokens": 8, "completion_tokens": 4}},
            )


if __name__ == "__main__":
    Path("pid").write_text(str(os.getpid()))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"serving {' '.join(sys.argv[2:])}", flush=True)
    server.serve_forever()
    server.server_close()
    time.sleep(2.0)
    print(NO_MEMORY, flush=True)
    sys.exit(7)
