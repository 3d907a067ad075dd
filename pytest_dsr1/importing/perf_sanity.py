"""NVIDIA's perf-sanity files: one server and its clients per case.

The keys and their defaults are those of ``ServerConfig`` and ``ClientConfig`` in TensorRT-LLM's
tests/integration/defs/perf/test_perf_sanity.py (0452cf0c). The client's lengths are those of
tensorrt_llm/serve/scripts/benchmark_dataset.py (0bf6dbc8).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import Case, Harvest, Refusal, RefusedError
from pytest_dsr1.importing.models import PERF_SANITY
from pytest_dsr1.importing.served import Lengths, Origin, ServedRun, safe_name
from pytest_dsr1.scenario.problems import MistakeError, Problem
from pytest_dsr1.scenario.yaml import reader as yaml_reader
from pytest_dsr1.text import shown_path

NOT_OPTIONS = frozenset(
    {
        *("mode", "concurrency", "name", "model_name", "disagg_run_type", "gpus", "gpus_per_node"),
        *("match_mode", "client_configs", "backend", "extra_llm_api_config_path", "server_env_var"),
    }
)
"""The keys of a server that are not in its options file; every other one is."""
_NO_DATASET = "<dataset_file>"
"""A placeholder for no dataset."""
_OLDER = {"tp", "ep", "pp"}
_GPU_IN_NAME = re.compile(r"(?:^|_)(h100|h200|b200|b300|gb200|gb300)(?:_|$)")


def is_aggregated(keys: Mapping[str, Any]) -> bool:
    """Return whether a file with these keys has cases of one server each."""
    return "server_configs" in keys


def why_not(keys: Mapping[str, Any]) -> str | None:
    """Return why a perf-sanity file with these keys cannot be imported; None if it is none of those."""
    if "worker_config" in keys:
        return (
            "it is disaggregated (context and generation servers on several nodes); pytest-dsr1 runs one "
            "server on one node"
        )
    if "test_cases" in keys:
        return (
            "it is of the older style with `test_cases`, which says only a part of the server's options; "
            "import a file of perf-sanity/aggregated/ instead"
        )
    return None


def read(top: Fields, path: Path, origin: Origin, harvest: Harvest) -> None:
    """Add the cases of an aggregated file to the harvest."""
    metadata, hardware = top.fields("metadata"), top.fields("hardware")
    default_model = metadata.text("model_name")
    gpus = metadata.texts("supported_gpus")
    if not gpus and (found := _GPU_IN_NAME.search(path.stem.lower())):
        gpus = (found[1].upper(),)
    node = hardware.whole("gpus_per_node", 0, least=0) or 0
    others = []
    for server in top.items("server_configs"):
        model = server.text("model_name", default_model)
        if "client_configs" not in server and not _OLDER & set(server.names):
            server.mistake("client_configs", "missing; expected a list of mappings")
        if model not in PERF_SANITY:
            if not model:
                server.mistake("model_name", "missing, also in metadata; expected the name of a model")
            others.append(model)
            continue
        _ServerReader(server, model, node, path, origin).add(gpus, harvest)
    harvest.refuse_others(top.node.mark, "case", "cases", [name for name in others if name])


class _ServerReader:
    """The reader of one server and its clients."""

    def __init__(self, server: Fields, model: str, node: int, path: Path, origin: Origin) -> None:
        self._server = server
        self._model = model
        self._node = node
        self._path = path
        self._origin = origin
        self.name = server.text("name") or _generated_name(server, model)

    def add(self, gpus: tuple[str, ...], harvest: Harvest) -> None:
        """Add a case for each client and GPU, or the reason why there is none."""
        server = self._server
        before = len(server.problems)
        server.refuse_other_words()
        mark = server.mark_of("name")
        try:
            common = self._common()
        except RefusedError as error:
            harvest.refusals.append(Refusal(mark, self.name, str(error)))
            return
        clients = list(server.items("client_configs"))
        several = (len(gpus) > 1, len(clients) > 1)

        def cases(client: Fields, gpu: str) -> list[Case]:
            runs = list(self._run(client, gpu, common, several=several))
            if not gpu:
                raise RefusedError("the file has no metadata.supported_gpus, and its name names no GPU")
            trees = [run.tree(self._origin) for run in runs if len(server.problems) == before]
            return [Case(tree["name"], mark, tree) for tree in trees]

        runs = [
            (_name_of(client) + (f" on {gpu}" if several[0] else ""), partial(cases, client, gpu))
            for client in clients
            for gpu in gpus or ("",)
        ]
        harvest.cases += harvest.take(mark, self.name, runs)

    def _common(self) -> dict[str, Any]:
        """Return what all clients of the server share.

        Raises:
            RefusedError: the server is of a kind that cannot be imported.
        """
        server = self._server
        if older := sorted(_OLDER & set(server.names)):
            raise RefusedError(
                f"it is of the older style with the keys {', '.join(older)}; import a file of "
                "perf-sanity/aggregated/ instead"
            )
        backend = server.text("backend", "pytorch")
        if backend not in {"pytorch", "_autodeploy"}:
            server.mistake("backend", f"expected pytorch or _autodeploy, found {backend}")
        kinds = ("tensor", "pipeline", "context")
        sizes = [server.whole_or_null(f"{kind}_parallel_size", 1) or 1 for kind in kinds]
        for key in ("moe_expert_parallel_size", "max_batch_size", "max_num_tokens", "max_seq_len"):
            server.whole_or_null(key)
        ranks = server.whole_or_null("world_size", math.prod(sizes)) or 1
        gpus = server.whole_or_null("gpus", ranks) or 1
        if gpus != ranks:
            shown = f"{' x '.join(kinds)} parallelism is {' x '.join(map(str, sizes))}"
            raise RefusedError(f"its gpus is {gpus}, but its {shown}")
        options = {key: value for key, value in server.node.plain().items() if key not in NOT_OPTIONS}
        options = self._more_options() | options
        notes = list(_relative_paths(options))
        if "match_mode" in server:
            notes.append("match_mode says how NVIDIA's database finds earlier results; it changes no run.")
        return {
            "checkpoint": PERF_SANITY[self._model],
            "gpus": gpus,
            "node": self._node,
            "options": options,
            "environment": _environment(server),
            "arguments": [] if backend == "pytorch" else ["--backend", backend],
            "notes": notes,
        }

    def _more_options(self) -> dict[str, Any]:
        """Return the options in the file that ``extra_llm_api_config_path`` names, in the same checkout.

        Raises:
            RefusedError: there is no such file.
        """
        named = self._server.text("extra_llm_api_config_path")
        if not named:
            return {}
        inside = not Path(named).is_absolute() and ".." not in Path(named).parts
        found = [folder / named for folder in self._path.resolve().parents if (folder / named).is_file()]
        if not inside or not found:
            raise RefusedError(
                f"the rest of its options is in {named}, which is not in a folder above this file; "
                "import the file where it is in a checkout of TensorRT-LLM"
            )
        problems = self._server.problems
        try:
            text = yaml_reader.read(found[0], wanted="options")
            name = shown_path(found[0])
            tree = yaml_reader.parse(text, name, problems, wanted="options", merge_keys=True)
        except MistakeError as error:
            problems.append(error.problem)
            return {}
        more = Fields(tree, "", problems)
        if not isinstance(tree.value, dict):
            problems.append(Problem(tree.mark, "", f"expected a mapping of options, found {tree.in_words()}"))
            return {}
        more.refuse_other_words()
        return dict(tree.plain())

    def _run(
        self, client: Fields, gpu: str, common: dict[str, Any], *, several: tuple[bool, bool]
    ) -> Iterator[ServedRun]:
        """Yield the run of a client on a GPU, unless a value of the client is wrong.

        Args:
            client: the client.
            gpu: the GPU's name in the file.
            common: what all clients share.
            several: whether the file has more GPUs, and the server more clients.
        """
        sent = _Sent(client)
        notes = [*common["notes"], *_of_client(client), *sent.ignored()]
        concurrency, rounds = client.whole("concurrency", 1), client.whole("iterations", 1)
        parts = [self._path.stem, self.name]
        parts += [gpu.lower()] if several[0] else []
        lengths, name = sent.lengths(), client.text("name")
        if concurrency is None or rounds is None or lengths is None:
            return
        nominal = f"con{concurrency}_iter{rounds}_isl{lengths.inputs}_osl{lengths.outputs}"
        parts += [name or nominal] if several[1] else []
        yield ServedRun(
            name=safe_name(*parts),
            what=f"perf-sanity case {self.name}",
            gpu=gpu,
            lengths=lengths,
            concurrency=concurrency,
            rounds=rounds,
            warmup_requests=sent.warmup_requests,
            streaming=sent.streaming,
            dataset_file=sent.dataset_file,
            **(common | {"notes": notes}),
        )


def _name_of(client: Fields) -> str:
    """Return what a refusal calls a client."""
    name = client.node.plain().get("name")
    return f"client {name}" if isinstance(name, str) else f"the client on line {client.node.mark.line}"


def _generated_name(server: Fields, model: str) -> str:
    """Return the name that NVIDIA gives a server without one."""
    values = server.node.plain()

    def part(key: str, default: object, block: str = "") -> object:
        holder = values.get(block) if block else values
        return holder.get(key, default) if isinstance(holder, dict) else default

    sizes = (f"{short}{part(f'{kind}_parallel_size', 1)}" for short, kind in _SIZES.items())
    name = f"{model}_{'_'.join(sizes)}_bs{part('max_batch_size', 512)}_attn{part('attn_backend', 'TRTLLM')}"
    name += f"_moe{part('backend', '', 'moe_config')}"
    transport = part("backend", "", "cache_transceiver_config")
    return f"{name}_spec{transport}" if transport else name


_SIZES = {"tp": "tensor", "ep": "moe_expert", "pp": "pipeline", "cp": "context"}


def _relative_paths(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each path that NVIDIA completes before the server gets it."""
    for block, key, root in (
        ("moe_config", "load_balancer", "the root of a checkout of TensorRT-LLM"),
        ("speculative_config", "speculative_model", "NVIDIA's folder of models"),
    ):
        holder = options.get(block)
        path = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(path, str) and path and not path.startswith("/"):
            yield f"{block}.{key}: {path} is relative to {root}; write its whole path before a run."


def _environment(server: Fields) -> dict[str, str]:
    """Return the server's variables: ``K=V K=V`` in the file."""
    variables = {}
    for word in server.text("server_env_var").split():
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            server.mistake("server_env_var", f"expected NAME=VALUE, found {word!r}")
        elif "${" in value:
            raise RefusedError(f"server_env_var: {name} contains ${{...}}, which a scenario would expand")
        else:
            variables[name] = value
    return variables


class _Sent:
    """What a client sends: NVIDIA's own benchmark_serving, or with ``use_nv_sa_benchmark`` SemiAnalysis's.

    That one (``_to_sa_benchmark_cmd``) always sends random tokens and streams, and has no warm-up.
    """

    def __init__(self, client: Fields) -> None:
        self._client = client
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
        inputs, outputs = client.whole("isl", 1024), client.whole("osl", 1024)
        ratio = client.number("random_range_ratio", 0.0)
        if ratio > 1 or (ratio == 1 and not self._semi_analysis):
            most = "at most 1" if self._semi_analysis else "less than 1"
            client.mistake("random_range_ratio", f"expected {most}, found {ratio:g}")
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
        if self.dataset_file and client.number("random_range_ratio", 0.0):
            yield "NVIDIA ignores random_range_ratio with a dataset_file, which has its own lengths."


_KNOWN_OF_CLIENT = {
    *("name", "concurrency", "iterations", "isl", "osl", "random_range_ratio", "backend", "dataset_file"),
    *("use_chat_template", "streaming", "trust_remote_code", "use_nv_sa_benchmark", "client_env_var"),
    *("accuracy_config", "only_run_accuracy", "warmup"),
}


def _of_client(client: Fields) -> Iterator[str]:
    """Yield what a scenario does not take over from a client, a sentence each.

    Raises:
        RefusedError: the client measures no speed, is another program, or sends to another API.
    """
    accuracy = client.fields("accuracy_config")
    if accuracy.flag("enable_accuracy_test"):
        if client.flag("only_run_accuracy"):
            raise RefusedError("its client tests the accuracy only")
        yield "accuracy_config: the accuracy is not tested."
    backend = client.text("backend", "openai")
    if backend != "openai":
        raise RefusedError(f"its client sends to the API {backend}; only openai (completions) is imported")
    if other := client.text("benchmark_client"):
        raise RefusedError(
            f"its benchmark_client is {other}; only benchmark_serving, NVIDIA's or SemiAnalysis's, is "
            "imported"
        )
    if client.flag("use_chat_template"):
        yield (
            "use_chat_template: NVIDIA's client puts each prompt into the chat template and counts the "
            "template as input; token ids have the same length without it."
        )
    if client.text("client_env_var"):
        yield f"client_env_var ({client.text('client_env_var')}) is for NVIDIA's client, which is not used."
    if unknown := sorted(set(client.names) - _KNOWN_OF_CLIENT):
        yield f"The client's keys {', '.join(unknown)} are unknown and have no effect."
