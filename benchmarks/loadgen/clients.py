"""The compared load generators: the engine `openai`, and public ones, each as its users run it.

docs/background/measurements.md describes and explains the setup of the peers.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Protocol

import yaml

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Load:
    """The load on the server.

    Attributes:
        streams: requests in flight (a closed loop), or the most of them (an open loop).
        ttft_us: the server's time to first token; 0 for as fast as the client reads.
        gap_us: the server's time between events; 0 for as fast as the client reads.
        rate_req_s: the rate of a Poisson process; None for a closed loop.
        servers: the number of servers; each gets an equal share.
        tokens_per_event: the tokens of each event.
        input_tokens: the tokens of each prompt.
        ramp_s: the time over which a closed loop starts.
        warmup: whether ours sends a warm-up, which takes as long as one answer.
    """

    name: str
    streams: int
    requests: int
    output_tokens: int
    ttft_us: int
    gap_us: int
    rate_req_s: float | None = None
    servers: int = 1
    tokens_per_event: int = 1
    input_tokens: int = 128
    ramp_s: float = 0.0
    warmup: bool = True

    @property
    def ideal_tok_s(self) -> float | None:
        """The rate of a client that costs nothing; None if only the client limits the rate."""
        if self.rate_req_s is not None:
            return self.rate_req_s * self.output_tokens
        if not self.gap_us:
            return None
        wave_s = (self.ttft_us + (self.output_tokens / self.tokens_per_event - 1) * self.gap_us) / 1e6
        return self.requests * self.output_tokens / (self.ramp_s + self.requests / self.streams * wave_s)


@dataclass(frozen=True, slots=True)
class Reported:
    """The values that a client reports; None if it does not report one.

    Attributes:
        lag_p99_ms: how late its event loop was.
        sent_s: when each request was sent, on the monotonic clock.
        late_p99_ms: how much later than scheduled requests were sent.
        readings: how often it read the server's metrics during the load.
        slo_percent: requests within the service level, in percent.
    """

    tok_s: float
    ttft_mean_ms: float
    ttft_p99_ms: float
    tpot_mean_ms: float
    lag_p99_ms: float | None = None
    sent_s: tuple[float, ...] = ()
    late_p99_ms: float | None = None
    readings: int | None = None
    slo_percent: float | None = None


class Client(Protocol):
    """A load generator."""

    @property
    def name(self) -> str:
        """The name in the table."""
        ...

    @property
    def warmup(self) -> int:
        """The number of requests that it sends before it measures."""
        ...

    def command(self, load: Load, urls: Sequence[str], folder: Path) -> list[str]:
        """Return the command line; write the files that it needs in the folder."""
        ...

    def read(self, folder: Path) -> Reported | None:
        """Return what it reported; None if it refused to."""
        ...


class Ours:
    """The engine `openai`, run by pytest with everything that a scenario can have.

    This includes its dataset, a warm-up, the server's metrics, a service level, a saved result and a verdict.
    """

    name = "pytest-dsr1"
    warmup = 16

    def command(self, load: Load, urls: Sequence[str], folder: Path) -> list[str]:
        """Return the command that runs pytest on a scenario."""
        arrival = {"type": "poisson", "rate_req_s": load.rate_req_s, "seed": 1}
        scenario = {
            "name": "loadgen",
            "description": load.name,
            "source": {"document": "benchmarks/loadgen"},
            "hardware": {},
            "model": {"name": "deepseek-ai/DeepSeek-R1"},
            "dataset": {"input_tokens": load.input_tokens, "output_tokens": load.output_tokens, "seed": 1},
            "load": {
                "concurrency": load.streams,
                "num_requests": load.requests,
                "warmup_requests": self.warmup if load.warmup else 0,
                **({"arrival": arrival} if load.rate_req_s else {}),
                "ramp_s": load.ramp_s,
            },
            "engine": {"type": "openai", "server": "vllm", "url": list(urls)},
            # MLPerf's limits for a server, or the times that the load itself needs.
            "slo": {
                "ttft_ms": max(2000.0, 2 * load.ttft_us / 1e3),
                "tpot_ms": max(80.0, 1.5 * load.gap_us / 1e3),
            },
            "targets": [
                {"metric": "total_output_throughput", "value": 1.0},
                {"metric": "goodput", "value": 0.001},
            ],
        }
        path = folder / "loadgen.yaml"
        path.write_text(yaml.safe_dump(scenario))
        # The copy of the plugin in this repository, even if another one is installed.
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return [
            *("env", f"PYTHONPATH={os.pathsep.join(paths)}"),
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(path)),
        ]

    def read(self, folder: Path) -> Reported | None:
        """Return the saved result; None if the run failed."""
        (saved,) = (folder / ".dsr1" / "loadgen").iterdir()
        written = json.loads((saved / "measurement.json").read_text())
        if written["state"] != "complete":
            return None
        measurement = written["measurement"]
        metrics = {name: metric["value"] for name, metric in measurement["metrics"].items()}
        facts = measurement["result"]["facts"]
        client = facts["client"]
        with (saved / "requests.jsonl").open() as lines:
            sent_s = tuple(sorted(json.loads(line)["submitted_s"] for line in lines))
        return Reported(
            tok_s=metrics["total_output_throughput"],
            ttft_mean_ms=metrics["average_ttft"],
            ttft_p99_ms=metrics["ttft_p99"],
            tpot_mean_ms=metrics["average_tpot"],
            lag_p99_ms=client["loop_lag_p99_ms"],
            sent_s=sent_s,
            late_p99_ms=client.get("late_p99_ms"),
            readings=facts["server_metrics"]["readings"],
            slo_percent=metrics["slo_attainment"],
        )


@dataclass(frozen=True, slots=True)
class VllmRust:
    """vLLM's client in Rust, ``vllm-rs bench serve``, a program in vLLM's wheel; one for each server."""

    program: str
    name: str = "vLLM (Rust)"
    warmup: int = 0

    def command(self, load: Load, urls: Sequence[str], folder: Path) -> list[str]:
        """Return the command with random token ids of exact length, as ours."""
        tokenizer = str(write_tokenizer(folder))
        each = [self._one(load, url, tokenizer, folder / str(number)) for number, url in enumerate(urls)]
        return ["sh", "-c", " ".join(f"{shlex.join(words)} &" for words in each) + " wait"]

    def _one(self, load: Load, url: str, tokenizer: str, folder: Path) -> list[str]:
        loop = (
            ["--request-rate", str(load.rate_req_s / load.servers)]
            if load.rate_req_s
            else ["--max-concurrency", str(load.streams // load.servers)]
        )
        return [
            *(self.program, "bench", "serve", "--backend", "openai", "--base-url", url, "--model", "truth"),
            *("--tokenizer", tokenizer, "--prompt-token-ids", "--ignore-eos"),
            *("--random-input-len", str(load.input_tokens), "--random-output-len", str(load.output_tokens)),
            *("--num-prompts", str(load.requests // load.servers), *loop, "--disable-tqdm"),
            *("--temperature", "0", "--percentile-metrics", "ttft,tpot,itl"),
            *("--save-result", "--result-dir", str(folder), "--result-filename", "result.json"),
        ]

    def read(self, folder: Path) -> Reported | None:
        """Read its JSON; several clients have the same load, so the mean of each figure is that of all."""
        paths = sorted(folder.glob("*/result.json"))
        results = [json.loads(path.read_text()) for path in paths]
        return Reported(
            tok_s=sum(result["output_throughput"] for result in results),
            ttft_mean_ms=fmean(result["mean_ttft_ms"] for result in results),
            ttft_p99_ms=fmean(result["p99_ttft_ms"] for result in results),
            tpot_mean_ms=fmean(result["mean_tpot_ms"] for result in results),
        )


@dataclass(frozen=True, slots=True)
class Aiperf:
    """NVIDIA's AIPerf; it counts tokens by ``usage``, as ours does."""

    program: str
    name: str = "AIPerf"
    warmup: int = 0

    def command(self, load: Load, urls: Sequence[str], folder: Path) -> list[str]:
        """Return the command with synthetic prompts, without its screen."""
        loop = ["--concurrency", str(load.streams)]
        if load.rate_req_s:
            loop = ["--request-rate", str(load.rate_req_s), "--arrival-pattern", "poisson"]
        return [
            *(
                self.program,
                "profile",
                "--model",
                "truth",
                "--url",
                urls[0],
                "--endpoint-type",
                "completions",
            ),
            *("--streaming", "--tokenizer", str(write_tokenizer(folder)), "--use-server-token-count"),
            *("--synthetic-input-tokens-mean", str(load.input_tokens)),
            *("--output-tokens-mean", str(load.output_tokens), "--request-count", str(load.requests)),
            *(*loop, "--ui", "none", "--artifact-dir", str(folder / "result")),
        ]

    def read(self, folder: Path) -> Reported | None:
        """Read its JSON."""
        result = json.loads((folder / "result" / "profile_export_aiperf.json").read_text())
        return Reported(
            tok_s=result["output_token_throughput"]["avg"],
            ttft_mean_ms=result["time_to_first_token"]["avg"],
            ttft_p99_ms=result["time_to_first_token"]["p99"],
            tpot_mean_ms=result["inter_token_latency"]["avg"],
        )


@dataclass(frozen=True, slots=True)
class Guidellm:
    """The vLLM project's guidellm."""

    program: str
    name: str = "guidellm"
    warmup: int = 0

    def command(self, load: Load, urls: Sequence[str], folder: Path) -> list[str]:
        """Return the command with prompts from a file; synthetic ones need a tokenizer of English."""
        write_prompts(folder / "prompts.jsonl", load)
        loop = f"kind=concurrent,streams={load.streams}"
        if load.rate_req_s:
            loop = f"kind=poisson,rate={load.rate_req_s}"
        return [
            *(self.program, "run", "--disable-console"),
            *("--backend", f"kind=openai_http,target={urls[0]},request_format=/v1/completions"),
            *("--profile", loop, "--constraint", f"kind=max_requests,count={load.requests}"),
            *("--tokenizer", f"kind=hf_auto,model={write_tokenizer(folder)}"),
            *("--data", f"kind=json_file,path={folder / 'prompts.jsonl'}"),
            *("--output", f"kind=json,path={folder / 'result.json'}"),
        ]

    def read(self, folder: Path) -> Reported | None:
        """Read its JSON."""
        benchmark = json.loads((folder / "result.json").read_text())["benchmarks"][0]
        metrics = benchmark["metrics"]
        ttft = metrics["time_to_first_token_ms"]["successful"]
        return Reported(
            tok_s=metrics["output_tokens_per_second"]["successful"]["mean"],
            ttft_mean_ms=ttft["mean"],
            ttft_p99_ms=ttft["percentiles"]["p99"],
            tpot_mean_ms=metrics["inter_token_latency_ms"]["successful"]["mean"],
        )


PEERS: Mapping[str, Callable[[str], Client]] = {
    "vllm-rs": VllmRust,
    "aiperf": Aiperf,
    "guidellm": Guidellm,
}


def write_tokenizer(folder: Path) -> Path:
    """Write a tokenizer of whole words, for clients that need one; it has each token of the server."""
    home = folder / "tokenizer"
    home.mkdir()
    words = ["<unk>", "<s>", "</s>", "tok", *_WORDS]
    special = [
        {"id": i, "content": word, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for i, word in enumerate(words[:3])
    ]
    model = {
        "type": "WordLevel",
        "vocab": {word: i for i, word in enumerate(words)},
        "unk_token": "<unk>",
    }
    nothing = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    document = {
        "version": "1.0",
        **nothing,
        "added_tokens": special,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": model,
    }
    (home / "tokenizer.json").write_text(json.dumps(document))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 131072,
    }
    (home / "tokenizer_config.json").write_text(json.dumps(config))
    return home


_WORDS = [f"w{i}" for i in range(1000)]


def write_prompts(path: Path, load: Load) -> None:
    """Write random words, one prompt per line."""
    chosen = random.Random(1)
    lengths = {"prompt_tokens_count": load.input_tokens, "output_tokens_count": load.output_tokens}
    with path.open("w") as lines:
        for _ in range(load.requests):
            prompt = " ".join(chosen.choices(_WORDS, k=load.input_tokens))
            lines.write(json.dumps({"prompt": prompt, **lengths}) + "\n")
