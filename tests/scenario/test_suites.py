"""The scenarios that ship: all of them load, and the published ones hold what their publications imply."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.options import KvCacheConfig
from pytest_dsr1.metrics.catalogue import targetable
from pytest_dsr1.scenario.loading import LoadedScenario, load, load_all
from pytest_dsr1.scenario.profiles import discover, shipped_suites
from pytest_dsr1.scenario.schema.load import PoissonArrival
from pytest_dsr1.scenario.schema.scenario import Published

NAMES = (
    "b200-max-throughput-0528-fp8kv",
    "b200-max-throughput",
    "b200-min-latency-first-published",
    "b200-min-latency-ladder",
    "b200-min-latency-relaxed",
    "b200-min-latency",
    "b200-mlperf-interactive",
    "b200-mlperf-offline",
    "b200-mlperf-server",
    "b200-mtp-depth",
    "b200-perf-overview-1000-1000",
    "b200-perf-overview-1024-1024",
    "b200-perf-overview-1024-32768",
    "b200-perf-overview-1024-8192",
    "b200-perf-overview-8192-1024",
    "b200-perf-sanity-2-nodes-1024-1024-c1024",
    "b200-perf-sanity-2-nodes-1024-1024-c32",
    "b200-perf-sanity-2-nodes-8192-1024-c1024",
    "b200-perf-sanity-disaggregated-1024-1024-c1",
    "b200-perf-sanity-disaggregated-1024-1024-c2048",
    "b200-perf-sanity-disaggregated-1024-1024-c256",
    "b200-perf-sanity-disaggregated-8192-1024-c1",
    "b200-perf-sanity-disaggregated-8192-1024-c1536",
    "b200-perf-sanity-disaggregated-8192-1024-c256",
    "cpu-max-throughput",
    "cpu-min-latency",
    "full-h200-vllm-2gpus-max-throughput",
    "full-h200-vllm-2gpus-min-latency",
    "full-h200-vllm-4gpus-max-throughput",
    "full-h200-vllm-4gpus-min-latency",
    "full-h200-vllm-max-throughput",
    "full-h200-vllm-min-latency",
    "gb200-perf-overview-1000-1000",
    "gb200-perf-overview-1024-1024",
    "gb200-perf-overview-1024-32768",
    "gb200-perf-overview-1024-8192",
    "gb200-perf-overview-8192-1024",
    "gb300-mlperf-offline",
    "gb300-mlperf-server",
    "h200-max-throughput",
    "h200-min-latency",
    "h200-mlperf-offline",
    "h200-pair-trtllm-serve",
    "h200-pair-vllm",
    "h200-perf-overview-1000-1000",
    "h200-perf-overview-1024-1024",
    "h200-perf-overview-1024-32768",
    "h200-perf-overview-1024-8192",
    "h200-perf-sanity-1024-1024-c1",
    "h200-perf-sanity-1024-1024-c2048",
    "h200-perf-sanity-1024-1024-c32",
    "h200-perf-sanity-1024-8192-c1",
    "h200-perf-sanity-1024-8192-c16",
    "h200-perf-sanity-1024-8192-c512",
    "h200-perf-sanity-8192-1024-c1",
    "h200-perf-sanity-8192-1024-c16",
    "h200-perf-sanity-8192-1024-c256",
    "slice-h200-max-throughput",
    "slice-h200-min-latency",
    "slice-h200-vllm-c1",
    "slice-h200-vllm-c256",
    "slice-h200-vllm-c64",
)
PATHS = {profile.name: profile.path for profile in discover([]).shipped}
SWEEPS = ("b200-min-latency-ladder", "b200-mtp-depth")
LOADED: dict[str, LoadedScenario] = {name: load(path) for name, path in PATHS.items() if name not in SWEEPS}
MLPERF = [name for name in NAMES if "mlperf" in name]
OVERVIEW = [name for name in NAMES if "perf-overview" in name]
PUBLISHED = [name for name, loaded in LOADED.items() if loaded.scenario.published and name not in MLPERF]
PRACTICE = [name for name in PUBLISHED if name not in {*OVERVIEW, "b200-min-latency-relaxed"}]
"""The scenarios of NVIDIA's best-practice article, which prints whole reports."""
ROWS = [
    (name, row) for name in PRACTICE for row in LOADED[name].scenario.published if "blog" not in row.version
]


def test_all_ship() -> None:
    assert tuple(PATHS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_name_is_its_folder_and_stem(name: str) -> None:
    for loaded in load_all(PATHS[name]):
        point, relative = loaded.scenario.point, loaded.path.relative_to(shipped_suites())
        own = loaded.scenario.name if point is None else point.sweep
        assert own == name == "-".join(relative.with_suffix("").parts)
        assert loaded.scenario.source is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_begins_with_its_schema_and_explains_itself(name: str) -> None:
    schema, empty, *rest = PATHS[name].read_text().splitlines()
    assert schema == "# yaml-language-server: $schema=../scenario.schema.json"
    assert empty == "#"
    assert rest[0].startswith("# ")
    assert (PATHS[name].parent / "../scenario.schema.json").is_file()


GRAPHS = "engine.llm_api.cuda_graph_config.max_batch_size: expected the largest CUDA graph to be for "
RANKS = "because with attention data parallelism each of 8 ranks takes"
UNUSUAL = {
    "b200-min-latency-first-published": (
        "targets.0.metric: per_user_output_throughput says little here: it includes waiting, and the engine "
        "serves 1 of 10 requests at once"
    ),
    **{
        f"b200-perf-sanity-2-nodes-{lengths}-c1024": (
            "load.concurrency: expected 8192, because with attention data parallelism each of 16 ranks takes "
            "512 requests (engine.max_batch_size); found 1024"
        )
        for lengths in ("1024-1024", "8192-1024")
    },
    "b200-perf-sanity-2-nodes-1024-1024-c32": (
        "engine.llm_api.kv_cache_config: without `enable_block_reuse: false` here, equal prefixes are "
        "computed only once, unlike in the published measurements"
    ),
    **{
        f"h200-perf-sanity-{load}": f"{GRAPHS}engine.max_batch_size, 512 requests; found {found}"
        for load, found in {
            "1024-1024-c1": 1,
            "1024-8192-c1": 1,
            "1024-8192-c16": 16,
            "8192-1024-c1": 1,
            "8192-1024-c16": 16,
            "8192-1024-c256": 256,
        }.items()
    },
    "h200-perf-sanity-1024-1024-c2048": (
        f"load.concurrency: expected 4096, {RANKS} 512 requests (engine.max_batch_size); found 2048"
    ),
    "h200-perf-sanity-1024-8192-c512": (
        f"load.concurrency: expected 1024, {RANKS} 128 requests (engine.max_batch_size); found 512"
    ),
}
"""What is unusual in publications."""


@pytest.mark.parametrize("name", NAMES)
def test_only_what_was_published_so_is_unusual(name: str) -> None:
    for loaded in load_all(PATHS[name]):
        warnings = [warning.partition(": ")[2] for warning in loaded.warnings]
        assert warnings == ([UNUSUAL[name]] if name in UNUSUAL else [])


@pytest.mark.parametrize("name", PUBLISHED)
def test_targets_are_the_newest_published_values(name: str) -> None:
    scenario = LOADED[name].scenario
    newest = scenario.published[0].values
    assert [(t.value, t.tolerance_percent) for t in scenario.targets] == [
        (newest[t.metric], 5.0) for t in scenario.targets
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_that_changed_are_pinned_in_the_file(name: str) -> None:
    engine = LOADED[name].scenario.engine
    assert isinstance(engine, TrtllmBench)
    assert {"enable_chunked_context", "eos_id"} <= engine.model_fields_set
    assert (engine.enable_chunked_context, engine.eos_id) == (name in OVERVIEW, -1)
    assert isinstance(engine.llm_api.kv_cache_config, KvCacheConfig)
    assert engine.llm_api.kv_cache_config.enable_block_reuse is False
    fraction = engine.kv_cache_free_gpu_mem_fraction
    assert engine.llm_api.kv_cache_config.free_gpu_memory_fraction == fraction is not None


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row.version[:2]}" for name, row in ROWS])
def test_published_rows_agree_with_themselves(name: str, row: Published) -> None:
    load = LOADED[name].scenario.load
    values = row.values
    total_s = values["total_latency"] / 1000
    assert values["request_throughput"] == pytest.approx(load.num_requests / total_s, abs=1e-4)
    assert values["per_gpu_output_throughput"] == pytest.approx(
        values["total_output_throughput"] / 8, abs=1e-4
    )
    output_length = values["total_output_throughput"] * total_s / load.num_requests
    assert 2045 <= output_length <= 2048.01
    concurrency = values["average_request_latency"] * load.num_requests / values["total_latency"]
    if "V1" in row.version:  # ten requests at once, one at a time: (10 + 1) / 2 on average
        assert concurrency == pytest.approx(5.5, rel=0.01)
    else:
        assert 0.97 * load.at_once <= concurrency <= load.at_once
    if "total_token_throughput" in values:
        input_tok_s = values["total_token_throughput"] - values["total_output_throughput"]
        assert 999 <= input_tok_s * total_s / load.num_requests <= 1043


def test_the_published_values() -> None:
    """Every row of the publications, as (tokens/sec, tokens/sec/user)."""
    found = {
        (name, row.version[:2]): (
            row.values["total_output_throughput"],
            row.values["per_user_output_throughput"],
        )
        for name, row in ROWS
    }
    assert found == {
        ("b200-min-latency", "V3"): (274.4168, 274.7188),
        ("b200-min-latency", "V2"): (254.5535, 254.7634),
        ("b200-min-latency", "V1"): (250.0612, 71.5615),
        ("b200-min-latency-first-published", "V1"): (250.0612, 71.5615),
        ("b200-max-throughput", "V4"): (36384.0838, 11.9263),
        ("b200-max-throughput", "V3"): (35611.5942, 11.6701),
        ("b200-max-throughput", "V2"): (36008.8948, 11.7967),
        ("b200-max-throughput-0528-fp8kv", "V4"): (43146.2042, 6.1806),
        ("h200-min-latency", "V2"): (158.0669, 158.1196),
        ("h200-max-throughput", "V4"): (11489.2671, 11.3476),
        ("h200-max-throughput", "V3"): (10553.8445, 10.4199),
        ("h200-max-throughput", "V2"): (10637.7380, 10.4899),
    }
    assert all(set(row.values) <= set(targetable()) for _, row in ROWS)


def test_a_figure_of_a_blog_is_a_row_of_its_own() -> None:
    row = LOADED["b200-max-throughput"].scenario.published[-1]
    assert "blog 3" in row.version
    assert row.values == {"per_gpu_output_throughput": 4600}
    assert "about 2,000 tok/s/GPU" in (row.note or "")


def test_the_published_settings() -> None:
    found = {}
    for name in PRACTICE:
        scenario = LOADED[name].scenario
        engine = scenario.engine
        assert isinstance(engine, TrtllmBench)
        found[name] = (
            scenario.load.concurrency,
            scenario.load.num_requests,
            scenario.load.warmup_requests,
            engine.ep,
            engine.max_batch_size,
            engine.max_num_tokens,
            engine.kv_cache_free_gpu_mem_fraction,
            bool(engine.llm_api.enable_attention_dp),
            engine.llm_api.speculative_config is not None,
            dict(engine.environment),
        )
    pdl, nvcc = {"TRTLLM_ENABLE_PDL": "1"}, {"TRTLLM_DG_JIT_USE_NVCC": "1"}
    assert found == {
        "b200-min-latency": (1, 10, 2, 2, 1, None, 0.9, False, True, pdl),
        "b200-min-latency-first-published": (10, 10, 2, 4, 1, None, 0.9, False, True, pdl),
        "b200-max-throughput": (3072, 49152, 0, 8, 384, 1536, 0.85, True, False, {}),
        "b200-max-throughput-0528-fp8kv": (7168, 114688, 2, 8, 896, 2048, 0.93, True, False, {}),
        "h200-min-latency": (1, 10, 2, 4, 1, None, 0.9, False, True, {}),
        "h200-max-throughput": (1024, 5120, 0, 8, 128, 1151, 0.8, True, False, nvcc),
    }


def test_the_performance_overview() -> None:
    """The tables, as tok/s/GPU: the newest, then the older one; and the requests per pair of lengths."""
    tables = {
        "h200": {"1000-1000": [1627], "1024-1024": [1620], "1024-8192": [1218], "1024-32768": [438]},
        "b200": {
            "1000-1000": [6463, 5715],
            "1024-1024": [6430, 5610],
            "1024-8192": [3862, 3841],
            "1024-32768": [1451, 1409],
            "8192-1024": [1168, 1100],
        },
        "gb200": {
            "1000-1000": [6939, 5884],
            "1024-1024": [6924, 6169],
            "1024-8192": [4379, 4201],
            "1024-32768": [1465, 1465],
            "8192-1024": [1192, 1182],
        },
    }
    requests = {"1000-1000": 3000, "1024-1024": 3000, "1024-8192": 1500, "1024-32768": 1000}
    for gpu, table in tables.items():
        assert {name for name in OVERVIEW if name.startswith(f"{gpu}-")} == {
            f"{gpu}-perf-overview-{lengths}" for lengths in table
        }
        for lengths, values in table.items():
            one = LOADED[f"{gpu}-perf-overview-{lengths}"].scenario
            assert [row.values for row in one.published] == [
                {"per_gpu_output_throughput": value} for value in values
            ]
            assert f"{one.dataset.input_tokens}-{one.dataset.output_tokens}" == lengths
            assert (one.load.concurrency, one.load.num_requests) == ("all", requests.get(lengths, 1500))
            engine, count = one.engine, 8 if gpu == "h200" else 4
            assert isinstance(engine, TrtllmBench)
            assert (engine.tp, engine.ep, one.hardware.count) == (count, count, count)
            assert engine.max_batch_size is engine.max_num_tokens is None


def test_relaxed_acceptance() -> None:
    one, strict = LOADED["b200-min-latency-relaxed"].scenario, LOADED["b200-min-latency"].scenario
    assert [row.values for row in one.published] == [{"per_user_output_throughput": 368}]
    assert isinstance(one.engine, TrtllmBench)
    speculation = one.engine.llm_api.speculative_config
    assert speculation is not None
    assert (speculation.max_draft_len, speculation.relaxed_topk, speculation.relaxed_delta) == (3, 10, 0.6)
    assert speculation.use_relaxed_acceptance_for_thinking
    options = one.engine.llm_api.model_copy(update={"speculative_config": None})
    assert isinstance(strict.engine, TrtllmBench)
    assert options == strict.engine.llm_api.model_copy(update={"speculative_config": None})
    assert (one.load, one.model, one.hardware) == (strict.load, strict.model, strict.hardware)


def test_the_nine_cases_of_perf_sanity() -> None:
    """As in config_database_h200_sxm.yaml.

    Batch, tokens, longest sequence, largest CUDA graph, ranks, draft tokens, share of memory for the cache.
    """
    cases = {
        "1024-1024-c1": (512, 3136, 2068, 1, 1, 3, 0.8),
        "1024-1024-c32": (1024, 5248, 2068, 1024, 1, 3, 0.8),
        "1024-1024-c2048": (512, 2112, 2068, 512, 8, 1, 0.75),
        "1024-8192-c1": (512, 3136, 9416, 1, 1, 3, 0.8),
        "1024-8192-c16": (512, 3136, 9416, 16, 1, 3, 0.8),
        "1024-8192-c512": (128, 1344, 9416, None, 8, 1, 0.75),
        "8192-1024-c1": (512, 10304, 9416, 1, 1, 3, 0.8),
        "8192-1024-c16": (512, 10304, 9416, 16, 1, 3, 0.8),
        "8192-1024-c256": (512, 10304, 9416, 256, 1, 3, 0.8),
    }
    shipped = {name for name in NAMES if name.startswith("h200-perf-sanity")}
    assert shipped == {f"h200-perf-sanity-{case}" for case in cases}
    for case, expected in cases.items():
        one = LOADED[f"h200-perf-sanity-{case}"].scenario
        engine, load = one.engine, one.load
        assert isinstance(engine, OpenAi)
        assert (engine.server, engine.tp, engine.ep, engine.llm_api.stream_interval) == (
            "trtllm-serve",
            8,
            8,
            10,
        )
        options = engine.llm_api
        graphs, cache, drafts = options.cuda_graph_config, options.kv_cache_config, options.speculative_config
        assert graphs is not None
        assert isinstance(cache, KvCacheConfig)
        assert drafts is not None
        assert (
            engine.max_batch_size,
            engine.max_num_tokens,
            engine.max_seq_len,
            graphs.max_batch_size,
            engine.ranks,
            drafts.max_draft_len,
            cache.free_gpu_memory_fraction,
        ) == expected
        assert (cache.dtype, cache.enable_block_reuse, graphs.enable_padding) == ("fp8", False, True)
        assert f"{one.dataset.input_tokens}-{one.dataset.output_tokens}-c{load.concurrency}" == case
        assert isinstance(load.concurrency, int)
        assert (load.num_requests, load.warmup_requests) == (10 * load.concurrency, 0)
        assert not one.targets
        assert not one.published
        assert one.gated_metric == "total_output_throughput"


def test_mlperf() -> None:
    """Results in tok/s, and the limits at P99 in ms. No target is a result of another harness."""
    results = {name: [row.values for row in LOADED[name].scenario.published] for name in MLPERF}
    assert {
        name: [value for values in rows for value in values.values()] for name, rows in results.items()
    } == {
        "b200-mlperf-interactive": [],
        "b200-mlperf-offline": [33379, 31920, 30874, 30766, 30493],
        "b200-mlperf-server": [18592, 15978, 14631, 13963, 13913],
        "gb300-mlperf-offline": [9821, 48047],  # v6.0 per GPU, from the press
        "gb300-mlperf-server": [8064, 22545],
        "h200-mlperf-offline": [8904.83],
    }
    limits = {"server": {"ttft_p99": 2000, "tpot_p99": 80}, "interactive": {"ttft_p99": 1500, "tpot_p99": 15}}
    for name in MLPERF:
        one, kind = LOADED[name].scenario, name.rpartition("-")[2]
        assert {target.metric: target.value for target in one.targets} == limits.get(kind, {})
        assert all(target.tolerance_percent == 0 for target in one.targets)
        assert all("MLPerf's own harness" in (row.note or "") for row in one.published)
        assert one.load.concurrency == "all"
        arrival = one.load.arrival
        assert (kind == "offline") == (arrival is None)
        if arrival is not None:
            assert isinstance(arrival, PoissonArrival)
            assert one.load.num_requests / arrival.rate_req_s >= 600
            totals = (row.values.get("total_output_throughput") for row in one.published)
            result = next(filter(None, totals), None)
            if result is not None:
                assert arrival.rate_req_s * 3886.2274 == pytest.approx(result, rel=2e-3)


def test_the_pair_of_servers_gets_the_same_load() -> None:
    ours, theirs = (LOADED[f"h200-pair-{server}"].scenario for server in ("trtllm-serve", "vllm"))
    for part in ("hardware", "model", "dataset", "load", "gpu_setup", "gate", "targets"):
        assert getattr(ours, part) == getattr(theirs, part)
    assert ours.targets == []
    one, other = ours.engine, theirs.engine
    assert isinstance(one, OpenAi)
    assert isinstance(other, OpenAi)
    assert (one.server, other.server) == ("trtllm-serve", "vllm")
    assert (one.tp, one.ep, one.max_batch_size) == (other.tp, other.ep, other.max_batch_size)


def test_random_weights_name_fields_that_transformers_has() -> None:
    transformers = pytest.importorskip("transformers")
    known = vars(transformers.DeepseekV3Config())
    for loaded in LOADED.values():
        weights = loaded.scenario.model.random_weights
        assert weights is None or set(weights.config) <= known.keys(), loaded.path


def test_every_file_below_suites_is_found() -> None:
    files = {path for path in shipped_suites().rglob("*") if path.is_file()}
    schemas = {Path(shipped_suites(), f"{name}.schema.json") for name in ("scenario", "site")}
    assert files == {*PATHS.values(), *schemas}


def test_the_ladder_of_mtp_has_both_publications_at_each_point() -> None:
    points = [each.scenario for each in load_all(PATHS["b200-mtp-depth"])]
    figures = [[each.values["per_user_output_throughput"] for each in one.published] for one in points]
    assert figures == [
        [151.1, 111],
        [266.1, 198],
        [317.7, 250],
        [320.3, 253],
        [306.4, 245],
        [291.8, 239],
        [269.5],
        [254.0],
    ]
    assert [one.engine.draft_tokens for one in points] == list(range(8))
    assert all(not one.targets for one in points)


def test_the_steps_of_the_ladder_are_options() -> None:
    points = [each.scenario for each in load_all(PATHS["b200-min-latency-ladder"])]
    engines = [TrtllmBench.of(one) for one in points]
    assert [engine.ep for engine in engines] == [8, 8, 8, 4, 2, 2]
    assert [engine.environment.get("TRTLLM_ENABLE_PDL") for engine in engines] == [
        "0",
        "0",
        "1",
        "1",
        "1",
        "1",
    ]
    assert [engine.draft_tokens for engine in engines] == [0, 3, 3, 3, 3, 3]
    assert [[each.values["per_user_output_throughput"] for each in one.published] for one in points] == [
        [89],
        [168],
        [173],
        [253],
        [299],
        [368],
    ]
    relaxed = load(PATHS["b200-min-latency-relaxed"]).scenario
    assert TrtllmBench.of(relaxed).llm_api == engines[-1].llm_api
