"""Accuracy of load generators: ours and public ones against a server that knows the truth.

    python -m benchmarks.loadgen --peer vllm-rs=PROGRAM --peer aiperf=PROGRAM --peer guidellm=PROGRAM

Runs every load with every client in turn, and prints the medians. docs/background/measurements.md explains
the columns and how the peers are installed. Needs a C compiler, and a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.loadgen.clients import PEERS, Client, Load, Ours, Reported
from benchmarks.loadgen.running import Cost, run
from benchmarks.loadgen.truth import Truth, TruthServer, compile_server, together
from benchmarks.peers import add_peers, chosen_peers

LOADS = (
    Load("1,024 streams", 1024, 8 * 1024, 256, 100_000, 10_000),
    Load("7,168 streams", 7168, 3 * 7168, 256, 1_000_000, 164_000),
    Load("unpaced", 256, 8 * 1024, 256, 0, 0),
    Load("Poisson", 8192, 40_000, 8, 100_000, 10_000, rate_req_s=2000),
)


RACK_LOADS = (
    Load("8,192 streams on 8 servers", 8192, 4 * 8192, 256, 100_000, 10_000, servers=8),
    Load("16,384 streams with MTP", 16_384, 3 * 16_384, 512, 100_000, 20_000, servers=8, tokens_per_event=2),
    Load("20,000 requests/s", 32_768, 200_000, 8, 100_000, 10_000, 20_000, servers=4, input_tokens=16),
    Load(
        "100,000 streams",
        streams=100_000,
        requests=100_000,
        output_tokens=120,
        ttft_us=1_000_000,
        gap_us=1_000_000,
        servers=8,
        input_tokens=16,
        ramp_s=20,
        warmup=False,
    ),
)
"""Loads for a machine with 16 cores."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one client.

    Attributes:
        apart_p99_ms: P99 of the time from the client's noted send to the server's read, in an open loop.
    """

    load: str
    client: str
    truth: Truth
    cost: Cost
    reported: Reported | None
    apart_p99_ms: float | None

    @property
    def cpu_s_per_mtok(self) -> float:
        """CPU seconds per million output tokens."""
        return self.cost.cpu_s / self.truth.tokens * 1e6 if self.truth.tokens else float("nan")


def once(load: Load, client: Client, program: Path, folder: Path) -> Run:
    """Run one load with one client."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(TruthServer(program, load.ttft_us, load.gap_us, load.tokens_per_event))
            for _ in range(load.servers)
        ]
        argv = client.command(load, [server.url for server in servers], folder)
        for server in servers:
            server.forget(client.warmup // load.servers if load.warmup else 0)
        cost = run(argv, folder, {"PYTHONDONTWRITEBYTECODE": ""})
        truth = together([server.truth() for server in servers])
        try:
            reported = client.read(folder)
        except (OSError, LookupError, ValueError) as error:
            tail = (folder / "output.txt").read_text()[-500:]
            print(f"{client.name}: no result ({error}), exit status {cost.status}:\n{tail}")
            reported = None
        apart_ms = _apart_p99_ms(reported, servers) if load.rate_req_s and reported else None
    return Run(load.name, client.name, truth, cost, reported, apart_ms)


def _apart_p99_ms(reported: Reported, servers: list[TruthServer]) -> float | None:
    if not reported.sent_s:
        return None
    arrivals_s = sorted(time_s for server in servers for time_s in server.arrivals_s())
    apart_s = sorted(a - s for a, s in zip(arrivals_s, reported.sent_s, strict=True))
    return apart_s[int(len(apart_s) * 0.99)] * 1e3


def table(load: Load, runs: list[Run]) -> str:
    """Return the table of one load: one line per client, medians of its runs."""
    head = (
        f"{'':<14}{'tok/s':>10}{'of ideal':>10}{'TTFT mean ms':>18}{'TTFT P99 ms':>18}{'TPOT':>9}"
        f"{'CPU s/Mtok':>12}{'MiB':>7}  notes"
    )
    lines = [f"{load.name}: {load.requests} requests of {load.output_tokens} tokens", head]
    for name in dict.fromkeys(each.client for each in runs):
        of_client = [each for each in runs if each.client == name]
        with_result = [each for each in of_client if each.reported is not None]
        tok_s = median(each.truth.tok_s for each in of_client)
        cells = [f"{name:<14}{tok_s:>10,.0f}"]
        cells.append(f"{tok_s / load.ideal_tok_s:>10.1%}" if load.ideal_tok_s else f"{'':>10}")
        if with_result and load.gap_us:
            for kind in ("mean", "p99"):
                true = median(getattr(each.truth.ttft_ms, kind) for each in with_result)
                reported = median(getattr(each.reported, f"ttft_{kind}_ms") for each in with_result)
                cells.append(f"{f'{true:.1f} -> {reported:.1f}':>18}")
            error = median(_tpot_error(each) for each in with_result)
            cells.append(f"{error:>+9.2%}")
        else:
            cells.append(f"{'':>45}")
        cells.append(f"{median(each.cpu_s_per_mtok for each in of_client):>12.1f}")
        cells.append(f"{median(each.cost.peak_mib for each in of_client):>7.0f}  ")
        cells.append(_notes(of_client, with_result))
        lines.append("".join(cells))
    return "\n".join(lines)


def _tpot_error(run_: Run) -> float:
    assert run_.reported is not None
    return run_.reported.tpot_mean_ms / run_.truth.tpot_ms.mean - 1


def _notes(runs: list[Run], with_result: list[Run]) -> str:
    notes = []
    for key, text in (("lag_p99_ms", "loop late P99"), ("late_p99_ms", "sent late P99")):
        values = [v for each in with_result if (v := getattr(each.reported, key)) is not None]
        if values:
            notes.append(f"{text} {median(values):.2f} ms")
    for key, text in (("readings", "{:.0f} readings of /metrics"), ("slo_percent", "SLO kept by {:.1f}%")):
        values = [v for each in with_result if (v := getattr(each.reported, key)) is not None]
        if values:
            notes.append(text.format(median(values)))
    apart = [each.apart_p99_ms for each in runs if each.apart_p99_ms is not None]
    if apart:
        notes.append(f"read {median(apart):.2f} ms after that, P99")
    if len(with_result) < len(runs):
        notes.append(f"{len(runs) - len(with_result)} of {len(runs)} runs without a result")
    short = [each for each in runs if each.truth.aborted or each.truth.completed != each.truth.requests]
    if short:
        notes.append(f"{len(short)} runs with broken requests")
    return ", ".join(notes)


def _kept(run_: Run) -> dict[str, object]:
    """Return a run as it is saved: without the time of every request."""
    kept = asdict(run_)
    if kept["reported"]:
        del kept["reported"]["sent_s"]
    return kept


def main() -> None:
    """Measure and print."""
    every = (*LOADS, *RACK_LOADS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--load", action="append", choices=[load.name for load in every])
    add_peers(parser)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep all files that are written")
    options = parser.parse_args()
    clients: list[Client] = [Ours(), *chosen_peers(parser, options, PEERS)]
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        program = compile_server(folder)
        for load in (each for each in every if each.name in (options.load or [one.name for one in LOADS])):
            runs = []
            for repetition in range(options.repetitions):
                for client in clients:
                    # guidellm does not accept a comma in a path.
                    name = load.name.replace(",", "").replace(" ", "-")
                    run_folder = folder / name / f"{client.name}-{repetition}"
                    runs.append(once(load, client, program, run_folder))
                    with (folder / "runs.jsonl").open("a") as lines:
                        lines.write(json.dumps(_kept(runs[-1])) + "\n")
            print(f"{table(load, runs)}\n", flush=True)


if __name__ == "__main__":
    main()
