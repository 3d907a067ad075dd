"""The compared searches: ours, and public ones, each as its users run it and asked the same question."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from benchmarks.loadgen.clients import Load, write_prompts, write_tokenizer

_ROOT = Path(__file__).parents[2]
GOAL = 0.95
"""The share of requests that must keep the limit. guidellm's own."""
MOST = 128
"""The highest concurrency that is searched."""
INPUT_TOKENS, OUTPUT_TOKENS = 16, 4
PEERS_REQUESTS = 1000
"""The requests that a probe of a peer measures."""
WIDTH_PERCENT = 10.0
"""The width at which ours and plain bisection end, that of guidellm."""
WARM_UP = 16
"""The requests of our client before each probe."""
PLAIN_ANSWER = "plain.json"
_ONE_SIDE = "it found no load on one side of the goal"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search reported.

    Attributes:
        load: the highest concurrency that keeps the goal.
        low: the lower end of the interval; of a peer, the highest load that it saw keep the goal.
        high: the upper end; of a peer, one less than the lowest load that it saw miss the goal.
        probes: how many loads it measured; repetitions count.
        held: the requests in flight, on average, of the probe at the answer or next to it.
        nominal: how many that probe should have held. A slow client holds fewer, and finds a higher answer.
    """

    load: float
    low: float
    high: float
    probes: int
    held: float
    nominal: int


class Searcher(Protocol):
    """A program that searches."""

    @property
    def name(self) -> str:
        """The name in the table."""
        ...

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that it needs."""
        ...

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        """Return the command line; write the files that it needs in the folder."""
        ...

    def read(self, folder: Path) -> Answer:
        """Return what it reported.

        Raises:
            OSError, LookupError, TypeError, ValueError: if it reported no answer.
        """
        ...


def own_environment() -> dict[str, str]:
    """Return what makes a process use this repository, even if another copy of the plugin is installed."""
    return {"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


def write_scenario(folder: Path, name: str, url: str, limit_ms: float, **parts: object) -> list[str]:
    """Write a scenario of our client into a folder; return the command that runs it.

    Args:
        folder: for the file.
        name: of the scenario.
        url: of the server.
        limit_ms: of the SLO.
        parts: more parts of the scenario, or other ones.
    """
    scenario = {
        "name": name,
        "description": "A search with a known answer.",
        "source": {"document": "benchmarks/search"},
        "hardware": {},
        "model": {"name": "deepseek-ai/DeepSeek-R1"},
        "dataset": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "seed": 1},
        "load": {"concurrency": 1, "num_requests": 1, "warmup_requests": WARM_UP},
        "engine": {"type": "openai", "url": url},
        "slo": {"request_latency_ms": limit_ms},
        **parts,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(scenario))
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)]


class Ours:
    """A scenario with ``search``, run by pytest."""

    name = "pytest-dsr1"

    @property
    def environment(self) -> dict[str, str]:
        """This repository."""
        return own_environment()

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        """Return the command; the interval is as wide as guidellm's."""
        search = {"load.concurrency": [1, MOST], "goal": GOAL, "width_percent": WIDTH_PERCENT}
        return write_scenario(folder, "peak", url, limit_ms, search=search)

    def read(self, folder: Path) -> Answer:
        """Read the record of the search."""
        (path,) = (folder / ".dsr1" / "peak").glob("search-*.json")
        record = json.loads(path.read_text())
        load, low, high = record["found"]["highest_concurrency"]
        loads = [int(run["point"].split("-")[1]) for run in record["runs"]]
        nominal, folders = min(loads, key=lambda each: abs(each - load)), path.parents[1]
        nearest = next(run for run, each in zip(record["runs"], loads, strict=True) if each == nominal)
        held = in_flight(times_of(folders / nearest["folder"]))
        return Answer(load, low, high, len(loads), held, nominal)


class Plain:
    """Plain bisection with our client, and as many requests per probe as the peers have."""

    name = "bisection"

    @property
    def environment(self) -> dict[str, str]:
        """This repository."""
        return own_environment()

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        """Return the command of :mod:`benchmarks.search.plain`, which needs no file."""
        del folder
        return [sys.executable, "-m", "benchmarks.search.plain", url, f"{limit_ms:g}"]

    def read(self, folder: Path) -> Answer:
        """Read the loads and shares of its probes."""
        return Answer(**json.loads((folder / PLAIN_ANSWER).read_text()))


@dataclass(frozen=True, slots=True)
class Aiperf:
    """NVIDIA's AIPerf, with the planner of its recipe ``max-concurrency-under-sla``, which only takes a P99.

    A probe has 1,000 requests, its precision "normal": without a number it measures 10. Its warm-up of 60 s
    per load is for caches and CUDA graphs. A queue has none, so it gets 2 s.
    """

    program: str
    name: str = "AIPerf"

    @property
    def environment(self) -> dict[str, str]:
        """Its names of the warm-ups."""
        kinds = ("DEFAULT_WARMUP_SECONDS", "FIRST_PROBE_WARMUP_FLOOR", "REPLICATE_WARMUP_FLOOR")
        return {f"AIPERF_SEARCH_PLANNER_{kind}": "2" for kind in kinds}

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        """Return the command with synthetic prompts, without its screen."""
        return [
            *(self.program, "profile", "--model", "queue", "--url", url, "--endpoint-type", "completions"),
            *("--streaming", "--tokenizer", str(write_tokenizer(folder)), "--use-server-token-count"),
            *("--synthetic-input-tokens-mean", str(INPUT_TOKENS)),
            *("--output-tokens-mean", str(OUTPUT_TOKENS), "--ui", "none"),
            *("--request-count", str(PEERS_REQUESTS)),
            *("--search-space", f"phases.profiling.concurrency:1,{MOST}:int"),
            *("--search-metric", "output_token_throughput", "--search-direction", "maximize"),
            *("--search-planner", "smooth-isotonic", "--search-max-iterations", "30"),
            *("--search-sla", f"request_latency:p{GOAL:.0%}".rstrip("%") + f":le:{limit_ms}"),
            *("--artifact-dir", str(folder / "result")),
        ]

    def read(self, folder: Path) -> Answer:
        """Read the history of its search."""
        history = json.loads((folder / "result" / "search_history.json").read_text())
        keeps, misses = (history["boundary_summary"][side] for side in ("feasible_max", "infeasible_min"))
        if keeps is None or misses is None:
            raise ValueError(_ONE_SIDE)
        probe = folder / "result" / f"search_iter_{keeps['iteration_idx']:04d}" / "profile_runs" / "run_0001"
        requests = [line["metadata"] for line in _lines(probe / "profile_export.jsonl")]
        held = in_flight(
            (request["request_start_ns"], request["request_end_ns"])
            for request in requests
            if request["benchmark_phase"] == "profiling"
        )
        load = keeps["value"]
        return Answer(load, load, misses["value"] - 1, len(history["iterations"]), held, load)


@dataclass(frozen=True, slots=True)
class Guidellm:
    """The vLLM project's guidellm, with its profile for this question and as many requests as AIPerf."""

    program: str
    name: str = "guidellm"

    @property
    def environment(self) -> dict[str, str]:
        """It needs nothing."""
        return {}

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        """Return the command with prompts from a file; synthetic ones need a tokenizer of English."""
        prompts = folder / "prompts.jsonl"
        load = Load("", MOST, PEERS_REQUESTS, OUTPUT_TOKENS, 0, 0, input_tokens=INPUT_TOKENS)
        write_prompts(prompts, load)
        metrics = {"kind": "generative", "slo": {"e2el_ms": limit_ms}}
        return [
            *(self.program, "run", "--disable-console", "--metrics", json.dumps(metrics)),
            *("--backend", f"kind=openai_http,target={url},request_format=/v1/completions"),
            *("--profile", f"kind=goodput,target_attainment={GOAL},max_streams={MOST}"),
            *("--constraint", f"kind=max_requests,count={PEERS_REQUESTS}"),
            *("--tokenizer", f"kind=hf_auto,model={write_tokenizer(folder)}"),
            *("--data", f"kind=json_file,path={prompts}"),
            *("--output", f"kind=json,path={folder / 'result.json'}"),
        ]

    def read(self, folder: Path) -> Answer:
        """Read the conclusion of its search."""
        result = json.loads((folder / "result.json").read_text())
        (found,) = result["conclusions"]
        load, misses = found["best_passing_streams"], found["lowest_failing_streams"]
        if load is None or misses is None:
            raise ValueError(_ONE_SIDE)
        at_load = (each for each in result["benchmarks"] if each["config"]["strategy"]["streams"] == load)
        held = in_flight(
            (request["request_start_time"], request["request_end_time"])
            for request in next(at_load)["requests"]["successful"]
        )
        return Answer(load, load, misses - 1, len(found["probes"]), held, load)


PEERS: Mapping[str, Callable[[str], Searcher]] = {"aiperf": Aiperf, "guidellm": Guidellm}


def in_flight(times: Iterable[tuple[float, float]]) -> float:
    """Return how many requests were in flight on average, by their starts and ends, of any unit.

    The first and the last tenth of the starts are left out: there a closed loop fills and empties.
    """
    requests = sorted(times)
    first, last = (requests[len(requests) * tenth // 10][0] for tenth in (1, 9))
    within = (max(0.0, min(end, last) - max(start, first)) for start, end in requests)
    return sum(within) / (last - first)


def times_of(run: Path) -> list[tuple[float, float]]:
    """Return start and end of each request of a saved run of ours, in s."""
    return [(request["submitted_s"], request["last_token_s"]) for request in _lines(run / "requests.jsonl")]


def _lines(path: Path) -> Iterator[Any]:
    with path.open() as lines:
        yield from map(json.loads, lines)
