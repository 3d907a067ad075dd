"""What NVIDIA's two kinds of perf-sanity files share: a server's options and variables, and what is sent.

The rules are those of ``ServerConfig`` and ``ClientConfig`` in TensorRT-LLM's
tests/integration/defs/perf/test_perf_sanity.py (0452cf0c; which keys are no options: 14a434b9). The client's
lengths are those of tensorrt_llm/serve/scripts/benchmark_dataset.py (0bf6dbc8).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import RefusedError
from pytest_dsr1.importing.served import Lengths

EXPECTED_COMMUNICATION = "expected_communication_strategy"
_NOT_OPTIONS = frozenset(
    {
        *("mode", "concurrency", "name", "model_name", "disagg_run_type", "gpus", "gpus_per_node"),
        *("match_mode", "client_configs", "backend", "extra_llm_api_config_path", "server_env_var"),
        EXPECTED_COMMUNICATION,
    }
)
"""The keys of a server that are not in its options file; every other one is."""
_NO_DATASET = "<dataset_file>"
"""A placeholder for no dataset."""
_GPU_IN_NAME = re.compile(r"(?:^|_)(h100|h200|b200|b300|gb200|gb300)(?:_|$)")
NO_GPU = "the file has no metadata.supported_gpus, and its name names no GPU"


def gpus_of(metadata: Fields, path: Path) -> tuple[str, ...]:
    """Return the GPUs that a file or its name lists; none if there are none."""
    gpus = metadata.texts("supported_gpus")
    named = None if gpus else _GPU_IN_NAME.search(path.stem.lower())
    return (named[1].upper(),) if named else gpus


def options_of(server: Fields) -> dict[str, Any]:
    """Return what NVIDIA writes into a server's options file."""
    return {key: value for key, value in server.node.plain().items() if key not in _NOT_OPTIONS}


def ranks_of(server: Fields) -> int:
    """Return the number of a server's GPUs.

    Raises:
        RefusedError: its ``gpus`` is another one.
    """
    kinds = ("tensor", "pipeline", "context")
    sizes = [server.whole_or_null(f"{kind}_parallel_size", 1) or 1 for kind in kinds]
    for key in ("moe_expert_parallel_size", "max_batch_size", "max_num_tokens", "max_seq_len"):
        server.whole_or_null(key)
    ranks = server.whole_or_null("world_size", math.prod(sizes)) or 1
    gpus = server.whole_or_null("gpus", ranks) or 1
    if gpus != ranks:
        shown = f"{' x '.join(kinds)} parallelism is {' x '.join(map(str, sizes))}"
        raise RefusedError(f"its gpus is {gpus}, but its {shown}")
    return gpus


def relative_paths(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each path that NVIDIA completes before the server gets it."""
    for block, key, root in (
        ("moe_config", "load_balancer", "the root of a checkout of TensorRT-LLM"),
        ("speculative_config", "speculative_model", "NVIDIA's folder of models"),
    ):
        holder = options.get(block)
        path = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(path, str) and path and not path.startswith("/"):
            yield f"{block}.{key}: {path} is relative to {root}; write its whole path before a run."


def variables_of(fields: Fields, key: str) -> dict[str, str]:
    """Return environment variables: ``K=V K=V`` in the file.

    Raises:
        RefusedError: a value would mean another one in a scenario.
    """
    variables = {}
    for word in fields.text(key).split():
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            fields.mistake(key, f"expected NAME=VALUE, found {word!r}")
        elif "${" in value:
            raise RefusedError(f"{key}: {name} contains ${{...}}, which a scenario would expand")
        else:
            variables[name] = value
    return variables


class Sent:
    """What a client sends: NVIDIA's own benchmark_serving, or with ``use_nv_sa_benchmark`` SemiAnalysis's.

    That one (``_to_sa_benchmark_cmd``) always sends random tokens and streams, and has no warm-up.

    Args:
        client: its keys.
        inputs: the key of the input length.
        outputs: the key of the output length.
        ratio: the key of the spread of both.
    """

    def __init__(
        self, client: Fields, inputs: str = "isl", outputs: str = "osl", ratio: str = "random_range_ratio"
    ) -> None:
        self._client = client
        self._inputs, self._outputs, self._ratio = inputs, outputs, ratio
        self._semi_analysis = client.flag("use_nv_sa_benchmark")
        file, streaming = client.text("dataset_file"), client.flag("streaming", default=True)
        warmup = client.flag("warmup") and not self._semi_analysis
        self.dataset_file = "" if self._semi_analysis or file == _NO_DATASET else file
        self.streaming = streaming or self._semi_analysis
        self.warmup_requests = 1 if warmup else 0

    def lengths(self) -> Lengths | None:
        """Return the lengths; None if they are wrong.

        benchmark_serving draws from ``int(X * (1 - R))`` to ``int(X * (1 + R))`` and takes ``R`` below 1;
        SemiAnalysis's client (bench_serving f3ea022a) from ``int(X * R)`` to ``X``. Both ends are included.
        With a dataset nothing is drawn.
        """
        client = self._client
        inputs, outputs = client.whole(self._inputs, 1024), client.whole(self._outputs, 1024)
        ratio = client.number(self._ratio, 0.0)
        if ratio > 1 or (ratio == 1 and not self._semi_analysis):
            most = "at most 1" if self._semi_analysis else "less than 1"
            client.mistake(self._ratio, f"expected {most}, found {ratio:g}")
        if inputs is None or outputs is None:
            return None
        if self._semi_analysis:
            return Lengths(inputs, outputs, ratio)
        drawn = ratio and not self.dataset_file
        return Lengths(inputs, outputs, 1 - ratio, 1 + ratio) if drawn else Lengths(inputs, outputs)

    def ignored(self) -> Iterator[str]:
        """Yield what the client itself ignores, a sentence each."""
        client = self._client
        given = [key for key in ("dataset_file", "streaming", "warmup") if key in client]
        if self._semi_analysis and given:
            yield (
                f"NVIDIA ignores {', '.join(given)} with use_nv_sa_benchmark: random tokens, streamed, "
                "without a warm-up."
            )
        if self.dataset_file and client.number(self._ratio, 0.0):
            yield f"NVIDIA ignores {self._ratio} with a dataset_file, which has its own lengths."
