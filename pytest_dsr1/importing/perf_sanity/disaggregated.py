"""NVIDIA's disaggregated perf-sanity files: servers that read the inputs, and servers that write the answers.

The keys and their defaults are those of ``_parse_disagg_config_file`` in TensorRT-LLM's
tests/integration/defs/perf/test_perf_sanity.py (0452cf0c), for the mode ``e2e``. The nodes are those of
jenkins/scripts/perf/disaggregated/submit.py (0c8de69a): each server has nodes of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.trtllm_options.acceptance import VARIABLE
from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import Case, Harvest, Refusal, RefusedError
from pytest_dsr1.importing.models import PERF_SANITY
from pytest_dsr1.importing.perf_sanity.shared import (
    NO_GPU,
    Sent,
    gpus_of,
    options_of,
    ranks_of,
    relative_paths,
    variables_of,
)
from pytest_dsr1.importing.served import Origin, ServedRun, safe_name, without_empty, without_forcing
from pytest_dsr1.importing.server_options import server_options

_ROLES = {"context": "ctx", "generation": "gen"}
"""The roles of a scenario, with their names in these files."""
_WITHOUT_A_LOAD = {
    "gen_only": "it measures only the steps of the generation servers (benchmark.mode: gen_only)",
    "gen_only_no_context": (
        "it measures only the steps of the generation servers, without context servers "
        "(benchmark.mode: gen_only_no_context)"
    ),
}
_NUMA = "NVIDIA binds each server's memory with `numactl -m 0,1` (slurm.numa_bind); the scenario does not."


def is_disaggregated(keys: Mapping[str, Any]) -> bool:
    """Return whether a file with these keys has servers of two roles."""
    return "worker_config" in keys


@dataclass(frozen=True, slots=True)
class _Role:
    """The servers of one role.

    Attributes:
        servers: how many.
        gpus: of each.
        options: their options file.
        environment: their variables.
    """

    servers: int
    gpus: int
    options: Mapping[str, Any]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DisaggregatedRun(ServedRun):
    """One run of disaggregated servers; its variables are those of the server that passes requests on.

    Attributes:
        roles: the servers by their role.
    """

    roles: Mapping[str, _Role]

    @property
    def served_by(self) -> str:
        """The servers in words."""
        return "disaggregated trtllm-serve"

    @property
    def forcing(self) -> Mapping[str, str]:
        """The variables of the generation servers."""
        return self.roles["generation"].environment

    def nodes(self, per_node: int) -> int:
        """Return how many nodes the servers need; a rule refuses a scenario that does not fill them."""
        return sum(role.servers * -(-role.gpus // per_node) for role in self.roles.values())

    def settings(self, notes: list[str]) -> dict[str, Any]:
        """Return the keys of ``engine:``.

        Raises:
            RefusedError: options contradict each other.
        """
        found: dict[str, Any] = {}
        about: dict[str, list[str]] = {}
        for name, role in self.roles.items():
            options = server_options(role.options)
            keys = {
                "servers": role.servers,
                **options.engine,
                "environment": without_forcing(role.environment),
                "llm_api": options.llm_api,
            }
            found[name] = without_empty(keys)
            for note in options.notes:
                about.setdefault(note, []).append(name)
        notes += (f"{' and '.join(names)}: {note}" for note, names in about.items())
        return {
            **({} if self.streaming else {"streaming": False}),
            "environment": without_forcing(self.environment),
            "disaggregated": found,
        }


def read(top: Fields, path: Path, origin: Origin, harvest: Harvest) -> None:
    """Add the cases of a disaggregated file to the harvest: one for each GPU and number in flight."""
    metadata, benchmark = top.fields("metadata"), top.fields("benchmark")
    model, before = metadata.text("model_name"), len(top.problems)
    if not model:
        metadata.mistake("model_name", "missing; expected the name of a model")
    elif model not in PERF_SANITY:
        harvest.refuse_others(top.node.mark, "case", "cases", [model])
        return
    gpus = gpus_of(metadata, path)
    try:
        _refuse_other_modes(benchmark)
        in_flight, common = _in_flight(benchmark), _common(top)
    except RefusedError as error:
        harvest.refusals.append(Refusal(top.mark_of("benchmark"), "", str(error)))
        return
    if len(top.problems) > before:
        return

    def case(gpu: str, concurrency: int) -> list[Case]:
        if not gpu:
            raise RefusedError(NO_GPU)
        parts = [path.stem, *([gpu.lower()] if len(gpus) > 1 else [])]
        parts += [f"con{concurrency}"] if len(in_flight) > 1 else []
        run = _DisaggregatedRun(
            name=safe_name(*parts),
            checkpoint=PERF_SANITY[model],
            gpu=gpu,
            concurrency=concurrency,
            **common,
        )
        return [Case(run.name, top.node.mark, run.tree(origin))]

    runs = [
        (f"{concurrency} in flight{f' on {gpu}' if gpu else ''}", partial(case, gpu, concurrency))
        for concurrency in in_flight
        for gpu in gpus or ("",)
    ]
    harvest.cases += harvest.take(top.mark_of("benchmark"), "e2e", runs)


def _refuse_other_modes(benchmark: Fields) -> None:
    """Add a mistake for an unknown mode.

    Raises:
        RefusedError: the file is for a run that measures no load.
    """
    mode = benchmark.text("mode", "e2e")
    if mode in _WITHOUT_A_LOAD:
        raise RefusedError(f"{_WITHOUT_A_LOAD[mode]}; only e2e is imported")
    if mode != "e2e":
        known = ", ".join(("e2e", *_WITHOUT_A_LOAD))
        benchmark.mistake("mode", f"expected one of {known}; found {mode}")


def _in_flight(benchmark: Fields) -> list[int]:
    """Return the numbers of requests in flight: a text such as ``1 2 4``, a number, or a list."""
    key = "concurrency_list"
    given = benchmark.node.plain().get(key, "1")
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else [given]
    numbers = [int(word) for word in map(str, words) if word.isascii() and word.isdecimal() and int(word)]
    if not numbers or len(numbers) < len(words):
        benchmark.mistake(key, f"expected whole numbers of at least 1, found {given!r}")
    return numbers


def _common(top: Fields) -> dict[str, Any]:
    """Return what all runs of a file share; nothing usable after a mistake.

    Raises:
        RefusedError: they cannot be imported.
    """
    benchmark, hardware, around = (top.fields(key) for key in ("benchmark", "hardware", "environment"))
    of_all = variables_of(around, "worker_env_var")
    roles = {name: _role(top, short, of_all) for name, short in _ROLES.items()}
    if len({role.environment.get(VARIABLE) for role in roles.values()}) > 1:
        raise RefusedError(f"its context and generation servers have different values of {VARIABLE}")
    sent = Sent(benchmark, "input_length", "output_length", "benchmark_ratio")
    return {
        "what": "perf-sanity, e2e",
        "gpus": sum(role.servers * role.gpus for role in roles.values()),
        "node": hardware.whole("gpus_per_node", 0, least=0) or 0,
        "roles": roles,
        "options": roles["generation"].options,
        "environment": variables_of(around, "server_env_var"),
        "lengths": sent.lengths(),
        "rounds": benchmark.whole("multi_round", 1),
        "warmup_requests": sent.warmup_requests,
        "streaming": sent.streaming,
        "dataset_file": sent.dataset_file,
        "notes": [*_about(top, roles), *sent.ignored()],
    }


def _role(top: Fields, short: str, of_all: Mapping[str, str]) -> _Role:
    """Return the servers of a role.

    Args:
        top: the file.
        short: the role's name in it.
        of_all: the variables of all servers.

    Raises:
        RefusedError: they cannot be imported.
    """
    server = top.fields("worker_config").fields(short)
    server.refuse_other_words()
    if server.text("backend", "pytorch") != "pytorch" or server.text("extra_llm_api_config_path"):
        raise RefusedError(
            f"its {short} servers are AutoDeploy's, which is imported only of aggregated files"
        )
    return _Role(
        servers=top.fields("hardware").needed(f"num_{short}_servers") or 1,
        gpus=ranks_of(server),
        options=options_of(server),
        environment={**of_all, **variables_of(top.fields("environment"), f"{short}_worker_env_var")},
    )


def _about(top: Fields, roles: Mapping[str, _Role]) -> Iterator[str]:
    """Yield what a scenario does not take over, a sentence each.

    Raises:
        RefusedError: the file is for a test of the accuracy alone.
    """
    if top.fields("accuracy").flag("enable_accuracy_test"):
        if top.fields("benchmark").flag("only_run_accuracy"):
            raise RefusedError("its client tests the accuracy only")
        yield "accuracy: the accuracy is not tested."
    if top.fields("slurm").flag("numa_bind"):
        yield _NUMA
    if variables := top.fields("environment").text("client_env_var"):
        yield f"client_env_var ({variables}) is for NVIDIA's client, which is not used."
    yield from dict.fromkeys(line for role in roles.values() for line in relative_paths(role.options))
