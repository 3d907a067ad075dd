"""The options of each point are those that InferenceX's scripts write, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.importing.inferencex_options import SCRIPTS, Point
from pytest_dsr1.importing.writing import refuse_impossible
from pytest_dsr1.scenario.loading import LoadedScenario, mistakes_in
from pytest_dsr1.scenario.yaml.tree import node_of
from tests.helpers.imports import DATA, harvested, harvested_text, imported, written_options

MASTER = DATA / "inferencex" / "nvidia-master.yaml"
BALANCE = {"batching_wait_iters": 0, "enable_balance": True, "timeout_iters": 60}
SIZES = [1, 2, 4, 8, 16, 32, 64, 128]


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedScenario]:
    return imported(MASTER, tmp_path_factory.mktemp("imported"))


def expected(
    tp: int, ep: int, graphs: int, fraction: float, moe: str, tokens: int, length: int
) -> dict[str, Any]:
    return {
        "tensor_parallel_size": tp,
        "moe_expert_parallel_size": ep,
        "max_num_tokens": tokens,
        "max_seq_len": length,
        "trust_remote_code": True,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": graphs},
        "enable_attention_dp": False,
        "print_iter_log": True,
        "kv_cache_config": {
            "dtype": "fp8",
            "free_gpu_memory_fraction": fraction,
            "enable_block_reuse": False,
        },
        "stream_interval": 10,
        "moe_config": {"backend": moe},
    }


def mtp(drafts: int, batch: int) -> dict[str, Any]:
    return {"speculative_config": {"decoding_type": "MTP", "max_draft_len": drafts}, "max_batch_size": batch}


def with_dp(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"enable_attention_dp": True, "attention_dp_config": BALANCE}


def captured(last: int, *more: int) -> dict[str, Any]:
    sizes = [*SIZES, *range(256, last + 1, 256), *more]
    return {"torch_compile_config": {"capture_num_tokens": sizes, "enable_piecewise_cuda_graph": True}}


# With 8,192 tokens in: (tokens of a step + 8192 + 127) // 64 * 64 in a step, and 8192 + 1024 + 256 in all.
POINTS = {
    "dsr1-fp4-b200-trt-8192x1024.tp4-ep1-c4": (expected(4, 1, 4, 0.8, "TRTLLM", 8320, 9472), {}),
    "dsr1-fp4-b200-trt-8192x1024.tp8-ep8-dpa-c128": (
        with_dp(expected(8, 8, 32, 0.8, "CUTLASS", 8384, 9472)),
        {},
    ),
    "dsr1-fp4-b200-trt-mtp-8192x1024.tp8-ep8-dpa-c64": (
        with_dp(expected(8, 8, 16, 0.8, "CUTLASS", 8320, 9472)) | mtp(1, 16),
        {},
    ),
    "dsr1-fp8-b200-trt-8192x1024.tp4-ep1-c8": (
        expected(4, 1, 8, 0.75, "TRTLLM", 8320, 9472),
        {"TLLM_OVERRIDE_LAYER_NUM": "61"},
    ),
    "dsr1-fp8-b200-trt-8192x1024.tp8-ep1-c64": (
        expected(8, 1, 64, 0.8, "TRTLLM", 8320, 9472) | captured(8192, 8320),
        {"TLLM_OVERRIDE_LAYER_NUM": "61"},
    ),
    "dsr1-fp8-b200-trt-mtp-8192x1024.tp8-ep1-c16": (
        expected(8, 1, 16, 0.8, "TRTLLM", 8320, 9472) | mtp(3, 16),
        {},
    ),
    "dsr1-fp8-b200-trt-mtp-8192x1024.tp8-ep1-c32": (
        expected(8, 1, 32, 0.8, "TRTLLM", 8384, 9472) | mtp(3, 32) | captured(8192, 8384),
        {},
    ),
    "dsr1-fp8-h200-trt-8192x1024.tp8-ep8-dpa-c64": (
        with_dp(expected(8, 8, 128, 0.75, "CUTLASS", 8320, 9472)),
        {"PYTHONNOUSERSITE": "1"},
    ),
    "dsr1-fp8-h200-trt-mtp-8192x1024.tp8-ep8-c32": (
        expected(8, 8, 128, 0.75, "CUTLASS", 8384, 9472) | mtp(3, 32),
        {"PYTHONNOUSERSITE": "1"},
    ),
    "dsr1-fp8-h200-trt-mtp-8192x1024.tp8-ep8-dpa-c256": (
        with_dp(expected(8, 8, 128, 0.75, "CUTLASS", 8320, 9472)) | mtp(1, 32),
        {"PYTHONNOUSERSITE": "1", "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:8192"},
    ),
}


@pytest.mark.parametrize("name", POINTS)
def test_a_point_has_the_options_of_its_script(scenarios: dict[str, LoadedScenario], name: str) -> None:
    options, environment = POINTS[name]
    assert written_options(scenarios[name]) == options
    assert scenarios[name].scenario.engine.process_environments == (environment,)


def test_every_search_space_is_a_sweep(scenarios: dict[str, LoadedScenario]) -> None:
    assert [(case.name, case.points) for case in harvested(MASTER).cases] == [
        ("dsr1-fp4-b200-trt-8192x1024", 9),
        ("dsr1-fp4-b200-trt-mtp-8192x1024", 9),
        ("dsr1-fp8-b200-trt-8192x1024", 8),
        ("dsr1-fp8-b200-trt-mtp-8192x1024", 7),
        ("dsr1-fp8-h200-trt-8192x1024", 5),
        ("dsr1-fp8-h200-trt-mtp-8192x1024", 7),
    ]
    assert [name for name in scenarios if name.startswith("dsr1-fp4-b200-trt-8")] == [
        f"dsr1-fp4-b200-trt-8192x1024.{label}"
        for label in (
            "tp4-ep1-c4",
            "tp4-ep1-c8",
            "tp4-ep1-c16",
            "tp4-ep1-c32",
            "tp4-ep4-c32",
            "tp4-ep4-dpa-c256",
            "tp8-ep1-c4",
            "tp8-ep8-dpa-c128",
            "tp8-ep8-dpa-c256",
        )
    ]


def test_every_point_has_its_load_and_its_gpus(scenarios: dict[str, LoadedScenario]) -> None:
    assert len(scenarios) == 45
    assert {
        (each.scenario.hardware.count, each.scenario.engine.model_dump()["tp"]) for each in scenarios.values()
    } == {(4, 4), (8, 8)}
    one = scenarios["dsr1-fp8-h200-trt-8192x1024.tp8-ep8-c4"].scenario
    assert (one.load.concurrency, one.load.num_requests, one.load.warmup_requests) == (4, 40, 8)
    drawn = one.dataset.model_dump(include={"input_tokens", "output_tokens"})
    assert drawn == {
        "input_tokens": {"minimum": 6553, "maximum": 8192},
        "output_tokens": {"minimum": 819, "maximum": 1024},
    }
    assert one.hardware.gpu == "NVIDIA H200"
    with_mtp = scenarios["dsr1-fp8-h200-trt-mtp-8192x1024.tp8-ep8-c4"].scenario
    assert with_mtp.source is not None
    assert with_mtp.source.notes[-2:] == [
        "The entry says only the parallelism; the other options are those of InferenceX's script for this "
        "precision "
        "and GPU at commit 843c6254.",
        "InferenceX's client puts each prompt into the chat template and counts the template as input; token "
        "ids have "
        "the same length without it.",
    ]


def test_the_rules_for_short_inputs() -> None:
    """No entry has 1,024 tokens in any more, but older master files do."""
    point = Point(1024, 1024, 8, 8, False, 128)
    fp4 = SCRIPTS["fp4", "b200", False](point).options(point)
    assert fp4["torch_compile_config"]["capture_num_tokens"] == [*SIZES, *range(256, 8193, 256)]
    fp8 = SCRIPTS["fp8", "b200", False](point).options(point)
    assert (fp8["batch_wait_timeout_iters"], fp8["batch_wait_max_tokens_ratio"]) == (40, 0.8)
    with_mtp = SCRIPTS["fp4", "b200", True](point).options(point)
    assert with_mtp["torch_compile_config"]["capture_num_tokens"] == [*SIZES, *range(256, 1537, 256), 1600]
    assert with_mtp["max_num_tokens"] == 1600
    spread = Point(1024, 1024, 8, 8, True, 128)
    assert "torch_compile_config" not in SCRIPTS["fp4", "b200", True](spread).options(spread)
    fp8_spread = SCRIPTS["fp8", "b200", True](spread)
    assert (fp8_spread.moe_backend, fp8_spread.kv_fraction, fp8_spread.max_batch_size) == (
        "DEEPGEMM",
        0.7,
        16,
    )
    assert fp8_spread.environment == {"ENABLE_CONFIGURABLE_MOE": "1"}


def test_other_frameworks_and_several_nodes_are_refused_by_name() -> None:
    assert [str(refusal) for refusal in harvested(MASTER).refusals] == [
        "tests/data/inferencex/nvidia-master.yaml:1: dsr1-fp4-b200-sglang: not imported: its framework is "
        "sglang; only "
        "entries of TensorRT-LLM (trt) are imported, because the options of the others are in scripts of "
        "their own",
        "tests/data/inferencex/nvidia-master.yaml:127: dsr1-fp8-h200-dynamo-trt: not imported: it needs "
        "several nodes; "
        "sweeps of several nodes are not imported",
        "tests/data/inferencex/nvidia-master.yaml: 1 entry: not imported: other models (qwen3.5)",
    ]


SMALL = """\
mine:
  {model: deepseek-ai/DeepSeek-R1-0528, model-prefix: dsr1, runner: h200, precision: fp8, framework: trt,
   scenarios: {fixed-seq-len: [{isl: 1024, osl: 1024, search-space: [
     {tp: 8, conc-list: [3]}
   ]}]}}
"""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("tp: 8", "tp: 8, pp: 2", "its scripts for one node do not use pp"),
        ("tp: 8", "tp: 8, spec-decoding: draft_model", "its speculation draft_model is unknown"),
        ("h200", "h100", "the options of its script for fp8 on h100 are unknown"),
        ("R1-0528", "R1", "the checkpoint deepseek-ai/DeepSeek-R1 is unknown"),
    ],
)
def test_an_entry_that_is_not_known_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    found = harvested_text(tmp_path, SMALL.replace(old, new))
    assert [(refusal.what, refusal.reason) for refusal in found.refusals] == [("mine", reason)]
    assert found.cases == []


def points(folder: Path, text: str) -> tuple[Any, list[dict[str, Any]]]:
    """Return the only sweep that an import of the text finds, and its points."""
    (case,) = harvested_text(folder, text).cases
    assert mistakes_in(node_of(case.tree, case.mark)) == ()
    return case, case.tree["sweep"]


def test_a_row_that_is_not_known_leaves_the_others(tmp_path: Path) -> None:
    rows = "tp: 8, conc-list: [3]},\n     {tp: 8, pp: 2, conc-list: [3]"
    found = harvested_text(tmp_path, SMALL.replace("tp: 8, conc-list: [3]", rows))
    assert [[point["label"] for point in case.tree["sweep"]] for case in found.cases] == [["tp8-ep1-c3"]]
    assert [(refusal.what, refusal.reason) for refusal in found.refusals] == [
        ("mine, the row on line 5", "its scripts for one node do not use pp")
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(4, 16, [4, 8, 16]), (4, 24, [4, 8, 16, 24]), (8, 8, [8]), (3, 4, [3, 4])],
)
def test_a_range_doubles_up_to_its_end(tmp_path: Path, start: int, end: int, expected: list[int]) -> None:
    """As the project's generate_sweep_configs.py does: the end is always one of the points."""
    row = f"tp: 8, conc-start: {start}, conc-end: {end}"
    _, found = points(tmp_path, SMALL.replace("tp: 8, conc-list: [3]", row))
    assert [point["load.concurrency"] for point in found] == expected


def test_the_source_of_a_sweep_is_its_search_space(tmp_path: Path) -> None:
    rows = "tp: 8, conc-list: [3, 8]},\n     {tp: 4, conc-start: 8, conc-end: 8"
    case, _ = points(tmp_path, SMALL.replace("tp: 8, conc-list: [3]", rows))
    assert case.name == "mine-1024x1024"
    assert case.tree["description"] == (
        "DeepSeek-R1-0528 on 4 to 8 H200 with trtllm-serve, 1024 tokens in and 1024 out, 3 to 8 in flight "
        "(entry mine, 1024x1024)"
    )
    assert case.tree["source"]["document"] == "own_b200.yaml: entry mine, 1024x1024"
    assert "published" not in case.tree
    assert "targets" not in case.tree


def test_a_search_space_of_one_point_is_a_sweep_too(tmp_path: Path) -> None:
    _, found = points(tmp_path, SMALL)
    assert found == [{"label": "tp8-ep1-c3", "engine.tp": 8, "engine.ep": 1, "load.concurrency": 3}]


def test_lengths_have_a_sweep_each_and_rows_of_equal_lengths_one(tmp_path: Path) -> None:
    spaces = SMALL.replace("]}]}}", "]}, {isl: 8192, osl: 1024, search-space: [{tp: 8, conc-list: [3]}]}]}}")
    found = harvested_text(tmp_path, spaces).cases
    assert [(case.name, case.points) for case in found] == [("mine-1024x1024", 1), ("mine-8192x1024", 1)]
    (case,) = harvested_text(
        tmp_path,
        spaces.replace("8192, osl: 1024, search-space: [{tp: 8", "1024, osl: 1024, search-space: [{tp: 4"),
    ).cases
    assert [point["label"] for point in case.tree["sweep"]] == ["tp8-ep1-c3", "tp4-ep1-c3"]


def test_a_point_that_is_in_two_rows_is_there_once(tmp_path: Path) -> None:
    rows = "tp: 8, conc-list: [3, 4, 3]},\n     {tp: 8, conc-start: 4, conc-end: 8"
    case, found = points(tmp_path, SMALL.replace("tp: 8, conc-list: [3]", rows))
    assert [point["label"] for point in found] == ["tp8-ep1-c3", "tp8-ep1-c4", "tp8-ep1-c8"]
    assert case.tree["source"]["notes"][-1] == (
        "More than once in the source, once here: tp8-ep1-c3, tp8-ep1-c4."
    )


def test_points_with_and_without_mtp_are_one_sweep(tmp_path: Path) -> None:
    rows = "tp: 8, conc-list: [3]},\n     {tp: 8, conc-list: [3], spec-decoding: mtp"
    text = SMALL.replace("tp: 8, conc-list: [3]", rows)
    case, (without, with_mtp) = points(tmp_path, text)
    assert (without["label"], with_mtp["label"]) == ("tp8-ep1-c3", "tp8-ep1-c3-mtp")
    assert "dataset.path" not in without
    assert with_mtp["dataset.path"] == "${DSR1_DATASET}"
    assert with_mtp["engine.llm_api.speculative_config"] == {"decoding_type": "MTP", "max_draft_len": 3}
    assert [note.partition(" ")[0] for note in case.tree["source"]["notes"]] == [
        "tp8-ep1-c3:",
        "The",
        "tp8-ep1-c3-mtp:",
        "tp8-ep1-c3-mtp:",
    ]


def test_an_entry_with_a_long_name_has_room_for_points(tmp_path: Path) -> None:
    (tmp_path / "master.yaml").write_text(SMALL.replace("mine", "m" * 200), encoding="utf-8")
    (name,) = imported(tmp_path / "master.yaml", tmp_path / "out")
    assert len(name) == 100
    assert len(name.rpartition(".")[0]) == 91


def test_more_points_than_a_sweep_may_have_are_refused(tmp_path: Path) -> None:
    many = ", ".join(map(str, range(1, 202)))
    found = harvested_text(tmp_path, SMALL.replace("[3]", f"[{many}]"))
    refuse_impossible(found)
    assert found.cases == []
    assert [str(refusal) for refusal in found.refusals] == [
        f"{tmp_path}/own_b200.yaml:1: mine-1024x1024: not imported: as a scenario it would be "
        "wrong: sweep: 201 points, expected at most 200: leave some out, or set the ini option "
        "dsr1_max_points = 201"
    ]


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        ("tp: 8", "conc-start: missing; expected a whole number of at least 1"),
        ("tp: 8, conc-list: [0]", "conc-list: expected a list of whole numbers of at least 1"),
        ("tp: 8, conc-start: 8, conc-end: 4", "conc-end: expected 8 to 1048576, found 4"),
        ("conc-list: [1]", "tp: missing; expected a whole number of at least 1"),
    ],
)
def test_a_mistake_in_a_search_space(tmp_path: Path, row: str, mistake: str) -> None:
    found = harvested_text(tmp_path, SMALL.replace("tp: 8, conc-list: [3]", row))
    assert found.cases == []
    path = "mine.scenarios.fixed-seq-len.0.search-space.0"
    assert str(found.problems[0]).partition(": ")[2] == f"{path}.{mistake}"
