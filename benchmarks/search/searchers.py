"""The compared searches: ours, and public ones, each as its users run it and asked the same question."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search reported.

    Attributes:
        load: the highest concurrency that keeps the goal.
        low: the lower end of the interval; of a peer, the highest load that it saw keep the goal.
        high: the upper end; of a peer, one less than the lowest load that it saw miss the goal.
        probes: how many loads it measured; repetitions count.
    """

    load: float
    low: float
    high: float
    probes: int


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


class Ours:
    """A scenario with ``search``, run by pytest."""

    name = "pytest-dsr1"

    @property
    def environment(self) -> dict[str, str]:
        """The copy of the plugin in this repository, even if another one is installed."""
        return {"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}

    def command(self, limit_ms: float, url: str, folder: Path) -> list[str]:
        """Return the command; the interval is as wide as guidellm's."""
        scenario = {
            "name": "peak",
            "description": "A search with a known answer.",
            "source": {"document": "benchmarks/search"},
            "hardware": {},
            "model": {"name": "deepseek-ai/DeepSeek-R1"},
            "dataset": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "seed": 1},
            "load": {"concurrency": 1, "num_requests": 1, "warmup_requests": 16},
            "engine": {"type": "openai", "url": url},
            "slo": {"request_latency_ms": limit_ms},
            "search": {"load.concurrency": [1, MOST], "goal": GOAL, "width_percent": 10},
        }
        path = folder / "peak.yaml"
        path.write_text(yaml.safe_dump(scenario))
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)]

    def read(self, folder: Path) -> Answer:
        """Read the record of the search."""
        (path,) = (folder / ".dsr1" / "peak").glob("search-*.json")
        record = json.loads(path.read_text())
        load, low, high = record["found"]["highest_concurrency"]
        return Answer(load, low, high, len(record["runs"]))


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
        summary = history["boundary_summary"]
        return _between(
            summary["feasible_max"]["value"], summary["infeasible_min"]["value"], history["iterations"]
        )


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
        (found,) = json.loads((folder / "result.json").read_text())["conclusions"]
        return _between(found["best_passing_streams"], found["lowest_failing_streams"], found["probes"])


PEERS: Mapping[str, Callable[[str], Searcher]] = {"aiperf": Aiperf, "guidellm": Guidellm}


def _between(keeps: int | None, misses: int | None, probes: list[Any]) -> Answer:
    """Return the answer of a bisection, which reports a load of each side."""
    if keeps is None or misses is None:
        raise ValueError("no load on one side of the goal")
    return Answer(keeps, keeps, misses - 1, len(probes))
