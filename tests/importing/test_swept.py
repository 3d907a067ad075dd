"""A sweep of runs: what they share stands once, and each point sets the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_dsr1.importing.harvest import RefusedError
from pytest_dsr1.importing.models import checkpoint_on_hugging_face
from pytest_dsr1.importing.served import Lengths, Origin, ServedRun
from pytest_dsr1.importing.swept import sweep_of
from pytest_dsr1.scenario.loading import mistakes_in
from pytest_dsr1.scenario.problems import Mark
from pytest_dsr1.scenario.yaml.tree import node_of

ORIGIN = Origin("own.yaml", "0123abc")
ONCE = "The source starts a server for each point; here points that differ in load alone share one."


def run(concurrency: int, options: Mapping[str, Any], **more: Any) -> ServedRun:
    checkpoint = checkpoint_on_hugging_face("deepseek-ai/DeepSeek-R1-0528")
    assert checkpoint is not None
    given: dict[str, Any] = {"rounds": 10, "gpus": 8, **more}
    return ServedRun(
        name=f"own-{concurrency}",
        what="a run",
        checkpoint=checkpoint,
        gpu="H200",
        options={"tensor_parallel_size": given["gpus"], **options},
        lengths=Lengths(1024, 1024),
        concurrency=concurrency,
        warmup_requests=2,
        **given,
    )


def swept(*notes: str, **runs: ServedRun) -> dict[str, Any]:
    tree = sweep_of("own", "all runs", runs, ORIGIN, notes)
    assert mistakes_in(node_of(tree, Mark("own.yaml", 1, 1))) == ()
    return tree


def test_what_all_runs_share_stands_once() -> None:
    graphs = {"cuda_graph_config": {"enable_padding": True, "max_batch_size": 4}, "stream_interval": 10}
    more = {"cuda_graph_config": {"enable_padding": True, "max_batch_size": 8}, "stream_interval": 10}
    tree = swept(a=run(4, graphs), b=run(8, more, gpus=4))
    assert list(tree) == [
        *("name", "description", "source", "hardware", "model", "dataset", "load", "engine", "gate", "sweep")
    ]
    assert tree["name"] == "own"
    assert tree["description"] == (
        "DeepSeek-R1-0528 on 4 to 8 H200 with trtllm-serve, 1024 tokens in and 1024 out, 4 to 8 in flight "
        "(all runs)"
    )
    assert tree["source"] == {
        "document": "own.yaml: all runs",
        "commit": "0123abc",
        "notes": [
            "The client of the source sends random starts of neighboring ids; here all ids are random."
        ],
    }
    assert tree["hardware"] == {"gpu": "NVIDIA H200", "count": 8}
    assert tree["load"] == {"num_requests": "10 x load.concurrency", "warmup_requests": 2}
    assert tree["engine"] == {
        "type": "openai",
        "server": "trtllm-serve",
        "llm_api": {"cuda_graph_config": {"enable_padding": True}, "stream_interval": 10},
    }
    key = "engine.llm_api.cuda_graph_config.max_batch_size"
    assert tree["sweep"] == [
        {"label": "a", "engine.tp": 8, "load.concurrency": 4, key: 4},
        {"label": "b", "engine.tp": 4, "load.concurrency": 8, key: 8},
    ]


def test_a_mapping_that_shares_nothing_is_with_the_points() -> None:
    backends = [run(4, {"moe_config": {"backend": name}}) for name in ("CUTLASS", "TRTLLM")]
    tree = swept(a=backends[0], b=backends[1])
    assert "llm_api" not in tree["engine"]
    assert [point["engine.llm_api.moe_config.backend"] for point in tree["sweep"]] == ["CUTLASS", "TRTLLM"]


def test_a_mapping_of_some_points_alone_is_set_as_a_whole() -> None:
    balance = {"enable_balance": True, "timeout_iters": 60}
    dp = run(8, {"enable_attention_dp": True, "attention_dp_config": balance})
    tree = swept(a=run(8, {"enable_attention_dp": False}), b=dp)
    assert tree["sweep"] == [
        {"label": "a", "engine.tp": 8, "load.concurrency": 8, "engine.llm_api.enable_attention_dp": False},
        {
            "label": "b",
            "engine.tp": 8,
            "load.concurrency": 8,
            "engine.llm_api.enable_attention_dp": True,
            "engine.llm_api.attention_dp_config": balance,
        },
    ]


def test_an_empty_mapping_is_shared_too() -> None:
    """It switches the compilation on."""
    tree = swept(a=run(4, {"torch_compile_config": {}}), b=run(8, {"torch_compile_config": {}}))
    assert tree["engine"]["llm_api"] == {"torch_compile_config": {}}


def test_true_is_not_1() -> None:
    unchecked = [run(4, {"own_option": value}) for value in (1, True)]
    tree = swept(a=unchecked[0], b=unchecked[1])
    values = [point["engine.llm_api.unchecked.own_option"] for point in tree["sweep"]]
    assert [repr(value) for value in values] == ["1", "True"]


def test_another_number_of_requests_is_with_the_points() -> None:
    tree = swept(a=run(4, {}), b=run(8, {}, rounds=5))
    assert [point["load.num_requests"] for point in tree["sweep"]] == [
        "10 x load.concurrency",
        "5 x load.concurrency",
    ]


def test_a_shared_server_and_notes_of_some_points_are_said() -> None:
    tree = swept("Own.", a=run(4, {}, notes=["One.", "Two."]), b=run(8, {}, notes=["Two."]))
    assert tree["source"]["notes"][1:] == ["a: One.", "Two.", ONCE, "Own."]


def test_a_run_that_cannot_be_a_scenario_is_refused() -> None:
    with pytest.raises(
        RefusedError, match="it needs 16 GPUs, which are 2 nodes; sweeps of several nodes are not"
    ):
        swept(a=run(4, {}, gpus=16))
