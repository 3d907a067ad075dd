"""Searches of public tools and ours, on a server whose answer is known.

    python -m benchmarks.search.peers --peer aiperf=PROGRAM --peer guidellm=PROGRAM [--service-ms 20]

Each tool in turn searches the highest concurrency, up to 128, at which 95% of requests are answered in time,
for each limit; plain bisection with our client is one of them. The longer a service, the less the machine
adds. With services of 5 ms it takes 20 minutes on a machine with nothing else to do.
docs/background/gate-statistics.md shows and explains the table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loadgen.running import run
from benchmarks.peers import add_peers, chosen_peers
from benchmarks.search.queue_server import QueueServer
from benchmarks.search.queues import ClosedQueue
from benchmarks.search.searchers import GOAL, PEERS, Answer, Ours, Plain, Searcher

SERVICE_MS = 5.0
LIMITS = (24.0, 28.0, 32.0)
"""In mean service times."""
HEAD = (
    "tool",
    "limit",
    "true",
    "answer",
    "interval",
    "error",
    "in flight",
    "probes",
    "requests",
    "s",
    "service",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One search and the truth.

    Attributes:
        true: the highest concurrency that keeps the goal.
        answer: None if the tool gave none.
        requests: all that the server answered, warm-ups included.
        seconds: from the start of the program to its end.
        service_ms: the mean service time that the server drew.
    """

    tool: str
    limit_ms: float
    true: float
    answer: Answer | None
    requests: int
    seconds: float
    service_ms: float

    @property
    def cells(self) -> list[str]:
        """One row of the table."""
        found = self.answer
        told = [
            f"{found.load:.0f}" if found else "none",
            f"{found.low:.0f} to {found.high:.0f}" if found else "",
            f"{found.load / self.true - 1:+.0%}" if found else "",
            f"{found.held:.1f} of {found.nominal}" if found else "",
            str(found.probes) if found else "",
        ]
        cost = [f"{self.requests:,}", f"{self.seconds:.0f}", f"{self.service_ms:.2f} ms"]
        return [self.tool, f"{self.limit_ms:.0f} ms", f"{self.true:.0f}", *told, *cost]


def true_answer(limit: float) -> float:
    """Return the highest concurrency that keeps the goal: the time of a request is an Erlang variable.

    Args:
        limit: of the latency, in mean service times.
    """
    return ClosedQueue(limit).answer(GOAL)


def once(searcher: Searcher, limit: float, service_ms: float, seed: int, folder: Path) -> Outcome:
    """Run one search; the limit is in mean service times."""
    folder.mkdir(parents=True)
    limit_ms = limit * service_ms
    with QueueServer(service_ms / 1e3, seed) as server:
        argv = searcher.command(limit_ms, server.url, folder)
        begin_s = time.monotonic()
        cost = run(argv, folder, searcher.environment)
        seconds = time.monotonic() - begin_s
    answer: Answer | None = None
    try:
        answer = searcher.read(folder)
    except (OSError, LookupError, TypeError, ValueError) as error:
        tail = (folder / "output.txt").read_text()[-500:]
        print(f"{searcher.name}: no answer ({error}), exit status {cost.status}:\n{tail}")
    return Outcome(
        searcher.name,
        limit_ms,
        true_answer(limit),
        answer,
        len(server.service_s),
        seconds,
        server.mean_service_ms,
    )


def every(searchers: Sequence[Searcher], service_ms: float, folder: Path) -> Iterator[Outcome]:
    """Yield the outcomes by limit. All tools meet the same service times."""
    for seed, limit in enumerate(LIMITS):
        for searcher in searchers:
            yield once(searcher, limit, service_ms, seed, folder / f"{searcher.name}-{seed}")


def row(cells: Sequence[str]) -> str:
    """Return one row for the docs."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_peers(parser)
    parser.add_argument("--service-ms", type=float, default=SERVICE_MS, help="mean time (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all files that are written")
    options = parser.parse_args()
    searchers: list[Searcher] = [Ours(), Plain(), *chosen_peers(parser, options, PEERS)]
    print(row(HEAD))
    print("|---" * len(HEAD) + "|")
    with tempfile.TemporaryDirectory() as temporary:
        for outcome in every(searchers, options.service_ms, options.keep or Path(temporary)):
            print(row(outcome.cells), flush=True)


if __name__ == "__main__":
    main()
