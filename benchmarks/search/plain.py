"""Plain bisection with our client: each probe is a run of pytest, and its share alone decides.

    python -m benchmarks.search.plain URL LIMIT_MS

:mod:`benchmarks.search.peers` runs it. It writes its answer into the present folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.search.searchers import (
    GOAL,
    INPUT_TOKENS,
    MOST,
    OUTPUT_TOKENS,
    PEERS_REQUESTS,
    PLAIN_ANSWER,
    WARM_UP,
    WIDTH_PERCENT,
    Answer,
    in_flight,
    times_of,
    write_scenario,
)
from benchmarks.search.study import bisect
from pytest_dsr1.search.evidence import probe_of


@dataclass(slots=True)
class Probes:
    """Probes of a server.

    Attributes:
        url: of the server.
        limit_ms: that a request must keep.
        held: by load, the requests in flight of its probe, on average.
    """

    url: str
    limit_ms: float
    held: dict[int, float] = field(default_factory=dict)

    def keeps(self, load: float) -> bool:
        """Run a probe; return whether enough of its requests keep the limit.

        Raises:
            CalledProcessError: pytest failed.
        """
        clients, name = round(load), f"plain-{load:.0f}"
        sent = {"concurrency": clients, "num_requests": PEERS_REQUESTS, "warmup_requests": WARM_UP}
        dataset = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "seed": clients}
        argv = write_scenario(Path(), name, self.url, self.limit_ms, load=sent, dataset=dataset)
        subprocess.run(argv, check=True)
        (run,) = (Path(".dsr1") / name).iterdir()
        times = times_of(run)
        self.held[clients] = in_flight(times)
        strain = np.array([(end_s - begin_s) * 1e3 / self.limit_ms for begin_s, end_s in sorted(times)])
        seen = probe_of(load, strain, settling=clients, draining=clients)
        return seen.missed_share <= 1 - GOAL


def main() -> None:
    """Search, and write the answer."""
    probes = Probes(sys.argv[1], float(sys.argv[2]))
    low, high = bisect(probes.keeps, 1, MOST, WIDTH_PERCENT, whole=True)
    nominal = min(probes.held, key=lambda load: abs(load - low))
    held = probes.held[nominal]
    answer = Answer(low, low, high - 1, len(probes.held), held, nominal)
    Path(PLAIN_ANSWER).write_text(json.dumps(asdict(answer)))


if __name__ == "__main__":
    main()
