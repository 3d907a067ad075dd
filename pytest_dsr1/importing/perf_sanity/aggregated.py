"""NVIDIA's aggregated perf-sanity files: one server and its clients per case.

The keys and their defaults are those of ``_parse_aggr_config_file`` in TensorRT-LLM's
tests/integration/defs/perf/test_perf_sanity.py (0452cf0c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import Case, Harvest, Refusal, RefusedError
from pytest_dsr1.importing.models import PERF_SANITY
from pytest_dsr1.importing.perf_sanity.shared import (
    EXPECTED_COMMUNICATION,
    NO_GPU,
    Sent,
    gpus_of,
    options_of,
    ranks_of,
    relative_paths,
    variables_of,
)
from pytest_dsr1.importing.served import Origin, ServedRun, safe_name
from pytest_dsr1.scenario.problems import MistakeError, Problem
from pytest_dsr1.scenario.yaml import reader as yaml_reader
from pytest_dsr1.text import shown_path

_OLDER = {"tp", "ep", "pp"}


def is_aggregated(keys: Mapping[str, Any]) -> bool:
    """Return whether a file with these keys has cases of one server each."""
    return "server_configs" in keys


def why_not(keys: Mapping[str, Any]) -> str | None:
    """Return why a perf-sanity file with these keys cannot be imported; None if it is none of those."""
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
    gpus = gpus_of(metadata, path)
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
                raise RefusedError(NO_GPU)
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
        gpus = ranks_of(server)
        options = self._more_options() | options_of(server)
        notes = list(relative_paths(options))
        if strategy := server.text(EXPECTED_COMMUNICATION):
            notes.append(f"{EXPECTED_COMMUNICATION}: NVIDIA looks for {strategy} in the server's log.")
        if "match_mode" in server:
            notes.append("match_mode says how NVIDIA's database finds earlier results; it changes no run.")
        return {
            "checkpoint": PERF_SANITY[self._model],
            "gpus": gpus,
            "node": self._node,
            "options": options,
            "environment": variables_of(server, "server_env_var"),
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
        sent = Sent(client)
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
