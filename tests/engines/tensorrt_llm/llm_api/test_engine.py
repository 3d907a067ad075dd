# ruff: noqa: E501  (messages stand whole)
"""The engine trtllm with its real worker, on the stand-in for the package `tensorrt_llm`."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dsr1.engines.in_effect import Option, of_saved
from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.engines.tensorrt_llm.llm_api import engine as engine_module
from pytest_dsr1.engines.tensorrt_llm.llm_api.arguments import worker_job
from pytest_dsr1.engines.tensorrt_llm.llm_api.engine import TrtllmEngine
from pytest_dsr1.engines.trtllm_options.dialects import dialect_of
from pytest_dsr1.errors import Dsr1Error, EngineError
from pytest_dsr1.records import Answer, Enough, Phase, Question, QuestionSet, RequestRecord
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.schema.scenario import Scenario, Speculation
from pytest_dsr1.workload.workload import Workload
from tests.helpers import values
from tests.helpers.events import SAYS
from tests.helpers.metrics import from_records
from tests.helpers.nodes import OF_A_STEP, on_two_nodes, program
from tests.helpers.paths import ROOT
from tests.helpers.waiting import ever_longer
from tests.helpers.watcher import Watcher
from tests.standins import srun
from tests.standins.tensorrt_llm.install import install

MTP = {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}}


class Interrupting(Watcher):
    """Presses Ctrl-C at the phase whose detail contains ``interrupted``."""

    interrupted: str | None = None

    def phase(self, phase: Phase, detail: str = "") -> None:
        super().phase(phase, detail)
        if self.interrupted and self.interrupted in detail:
            raise KeyboardInterrupt


@dataclass
class Api:
    """The stand-in, installed, and jobs for it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    watcher: Interrupting

    def installed(self, version: str) -> Api:
        site = install(self.folder / version, version)
        self.monkeypatch.syspath_prepend(str(site))
        self.monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
        return self

    def fails(self, how: str) -> Api:
        self.monkeypatch.setenv("DSR1_STANDIN_FAIL", how)
        return self

    def job(self, *, run_timeout_s: float = 30.0, **changes: Any) -> Job:
        """Six requests, two at a time, 8 tokens in and 16 out."""
        artifacts = self.folder / "engine"
        artifacts.mkdir(exist_ok=True)
        path = self.folder / "dataset.jsonl"
        rows = [{"task_id": i, "input_ids": list(range(8)), "output_tokens": 16} for i in range(6)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        workload = Workload(path, 6, "ab12", True, 8.0, 8, 16.0, 16)
        return Job(llm_api_scenario(**changes), workload, artifacts, run_timeout_s)

    def run(self, *, patience_s: float = 30.0, **job: Any) -> EngineResult:
        return TrtllmEngine(patience_s=patience_s).run(self.job(**job), self.watcher)

    def failure(self, **job: Any) -> str:
        with pytest.raises(EngineError) as caught:
            self.run(**job)
        return str(caught.value)

    def artifact(self, name: str) -> Any:
        return json.loads((self.folder / "engine" / name).read_text())

    def pids(self) -> list[int]:
        path = self.folder / "pids"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def llm_api_scenario(
    model: Mapping[str, Any] | None = None, load: Mapping[str, Any] | None = None, **engine: Any
) -> Scenario:
    return values.scenario(
        hardware={"gpu": "NVIDIA H200", "count": 8},
        model={"name": "deepseek-ai/DeepSeek-R1", **(model or {"path": "/models/DeepSeek-R1"})},
        dataset={"input_tokens": 8, "output_tokens": 16},
        load={"concurrency": 2, "num_requests": 6, **(load or {})},
        engine={"type": "trtllm", "tp": 8, "max_batch_size": 4, **engine},
    )


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    for name in [name for name in os.environ if name.startswith("DSR1_STANDIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSR1_STANDIN_PIDS", str(tmp_path / "pids"))
    return Api(tmp_path, monkeypatch, Interrupting())


@pytest.fixture(autouse=True)
def nothing_is_left(api: Api) -> Any:
    yield
    assert [pid for pid in api.pids() if psutil.pid_exists(pid)] == []
    assert psutil.Process().children(recursive=True) == []


def test_a_streamed_run_gives_a_record_of_each_request(api: Api) -> None:
    result = api.installed("1.2.1").run(streaming=True, load={"warmup_requests": 3})
    assert {record.id for record in result.records} == set(range(6)) == set(api.watcher.ids)
    for record in result.records:
        assert (record.input_tokens, record.output_tokens, record.decoding_iterations) == (8, 16, 16)
        assert record.first_token_s is not None
        assert record.submitted_s < record.first_token_s < record.last_token_s
        assert record.error is None
        assert record.engine is None
    assert [a.last_token_s <= b.last_token_s for a, b in pairwise(result.records)] == [True] * 5
    assert (result.gpus, result.versions) == (8, {"tensorrt_llm": "1.2.1"})
    assert result.measured_from_s == min(record.submitted_s for record in result.records)
    assert result.warnings == ()
    assert result.series[-1][0] <= result.measured_to_s + 1
    assert from_records(result.records, result.gpus)["average_ttft"] > 0
    assert api.watcher.done[-1] == (6, 96)


def test_an_end_token_ends_answers_and_lengths_are_not_checked(api: Api) -> None:
    result = api.installed("1.2.1").run(eos_id=7)  # the stand-in makes nothing else
    assert [record.output_tokens for record in result.records] == [1] * 6
    assert result.warnings == (
        "answers end at the end token (engine.eos_id), so output lengths were not checked",
    )


def test_never_more_requests_than_the_concurrency_are_under_way(api: Api) -> None:
    records = api.installed("1.2.1").run().records
    starts = [(record.submitted_s, 1) for record in records]
    ends = [(record.last_token_s, -1) for record in records]
    level, highest = 0, 0
    for _, change in sorted(starts + ends):
        level += change
        highest = max(highest, level)
    assert highest == 2


def test_phases_are_told_with_what_the_log_says_of_loading(api: Api) -> None:
    # So long that what the log says of loading is read before the next phase begins.
    api.monkeypatch.setenv("DSR1_STANDIN_LOAD_S", "0.5")
    api.installed("1.2.1").run(load={"warmup_requests": 3})
    assert api.watcher.steps == [
        ("starting", "TensorRT-LLM 1.2.1"),
        ("loading", "importing tensorrt_llm"),
        ("loading", "TensorRT-LLM 1.2.1 on 8 GPUs"),
        ("loading", "Loading safetensors weights in parallel:  50%|#####     | 4/8"),
        ("warm-up", "3 requests"),
        ("measuring", "6 requests"),
        ("finishing", ""),
    ]


def test_without_streaming_there_is_no_first_token(api: Api) -> None:
    records = api.installed("1.2.1").run().records
    assert [record.first_token_s for record in records] == [None] * 6
    assert [record.output_tokens for record in records] == [16] * 6


def test_with_drafts_there_are_fewer_iterations_than_tokens(api: Api) -> None:
    for record in api.installed("1.2.1").run(streaming=True, llm_api=MTP).records:
        assert record.output_tokens == 16
        assert 4 <= (record.decoding_iterations or 0) < 16


@pytest.mark.parametrize("version", ["1.0.0", "1.2.1"])
def test_request_times_inside_the_engine(api: Api, version: str) -> None:
    for record in api.installed(version).run(streaming=True, request_timings=True).records:
        engine = record.engine
        assert engine is not None
        assert record.first_token_s is not None
        assert record.submitted_s <= engine.arrival_s <= engine.first_scheduled_s <= engine.first_token_s
        assert engine.first_token_s <= engine.last_token_s <= record.last_token_s
        assert engine.first_token_s <= record.first_token_s


def test_request_times_of_another_clock_are_left_out(api: Api) -> None:
    result = api.installed("1.2.1").fails("clock").run(request_timings=True)
    assert [record.engine for record in result.records] == [None] * 6
    assert result.warnings == (
        "the engine's request times come from a different clock than pytest-dsr1's, so they were left out",
    )


def test_iterations_are_a_time_series(api: Api) -> None:
    result = api.installed("1.2.1").run(llm_api={"enable_iter_perf_stats": True})
    assert result.facts.other["iterations_file"] == "iterations-1.jsonl"
    lines = (api.folder / "engine" / "iterations-1.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert len(samples) == result.facts.other["iterations"]
    assert len(samples) >= 3 * 16
    numbers = [sample["iteration"] for sample in samples]
    assert numbers == list(range(1, len(samples) + 1))
    assert {sample["scheduled_requests"] for sample in samples} <= {1, 2}
    assert max(sample["kv_cache_used_share"] for sample in samples) == result.facts.kv_cache_used_share_max
    assert 0.02 < max(sample["kv_cache_used_share"] for sample in samples) < 0.05
    assert all(result.measured_from_s <= sample["time_s"] for sample in samples)


def test_one_model_serves_several_measurements(api: Api) -> None:
    api.installed("1.2.1")
    stats = {"enable_iter_perf_stats": True}
    with TrtllmEngine().open(api.job(load={"warmup_requests": 3}, llm_api=stats), api.watcher) as session:
        first, second = session.measure(), session.measure()
    assert len(api.pids()) == 1
    assert api.watcher.phases.count("warm-up") == 1
    assert len(first.records) == len(second.records) == 6
    assert first.measured_to_s < second.measured_from_s
    assert second.facts.other["iterations_file"] == "iterations-2.jsonl"


def test_a_judge_ends_a_measurement_early_and_the_next_is_whole(api: Api) -> None:
    api.installed("1.2.1").monkeypatch.setenv("DSR1_STANDIN_STEP_S", "0.005")
    with TrtllmEngine().open(api.job(), api.watcher) as session:
        early = session.measure(lambda record: record.id in {0, 1})
        whole = session.measure()
    assert 1 <= len(early.records) < 6
    assert early.stopped
    assert early.warnings == ()
    assert len(whole.records) == 6
    assert not whole.stopped
    assert whole.warnings == ()


def test_a_job_says_when_it_is_enough(api: Api) -> None:
    api.installed("1.2.1").monkeypatch.setenv("DSR1_STANDIN_STEP_S", "0.005")
    job = replace(api.job(), enough=lambda record: record.id in {0, 1})
    result = TrtllmEngine().run(job, api.watcher)
    assert result.stopped
    assert 1 <= len(result.records) < 6
    assert sorted(api.watcher.ids) == sorted(record.id for record in result.records)


def test_enough_at_the_last_request_is_a_whole_run(api: Api) -> None:
    done: list[int] = []

    def all_six(record: RequestRecord) -> bool:
        done.append(record.id)
        return len(done) == 6

    result = TrtllmEngine().run(replace(api.installed("1.2.1").job(), enough=all_six), api.watcher)
    assert (len(result.records), result.stopped) == (6, False)


def test_only_the_first_requests_of_a_longer_file_are_sent(api: Api) -> None:
    job = api.installed("1.2.1").job()
    result = TrtllmEngine().run(replace(job, workload=replace(job.workload, requests=3)), api.watcher)
    assert sorted(record.id for record in result.records) == [0, 1, 2]


LOSES = (
    SAYS
    + """
sys.stdin.readline()
for id in 0, 1:
    record = dict(id=id, submitted_s=1.0, first_token_s=None, last_token_s=2.0, input_tokens=8, output_tokens=16)
    say(json.dumps({"event": "record", "record": record}))
say(json.dumps({"event": "result", "versions": {}, "facts": {}}))
"""
)


@pytest.mark.parametrize("enough", [None, lambda _: False])
def test_requests_that_are_lost_are_no_early_stop(api: Api, enough: Enough | None) -> None:
    job = replace(api.installed("1.2.1").job(), enough=enough)
    with pytest.raises(EngineError, match="small: TensorRT-LLM answered 2 requests, expected 6\n"):
        TrtllmEngine([sys.executable, "-c", LOSES]).run(job, api.watcher)


def test_the_model_is_asked_for_as_trtllm_bench_does(api: Api) -> None:
    api.installed("1.2.1").run(
        ep=8,
        max_num_tokens=64,
        kv_cache_free_gpu_mem_fraction=0.8,
        llm_api={**MTP, "kv_cache_config": {"dtype": "fp8"}, "moe_config": {"backend": "TRTLLM"}},
    )
    job = api.artifact("job.json")
    assert job["arguments"] == {
        "model": "/models/DeepSeek-R1",
        "skip_tokenizer_init": True,
        "trust_remote_code": True,
        "tensor_parallel_size": 8,
        "pipeline_parallel_size": 1,
        "moe_expert_parallel_size": 8,
        "max_batch_size": 4,
        "max_num_tokens": 64,
        "enable_chunked_prefill": False,
    }
    assert job["options"] == {
        "cuda_graph_config": {"max_batch_size": 4, "enable_padding": True},
        "moe_config": {"backend": "TRTLLM"},
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.8, "enable_block_reuse": False},
        "speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 3},
    }
    assert (job["dialect"], job["tokenizer"]) == ("1.2 (read)", "/models/DeepSeek-R1")


def test_newer_names_for_a_newer_version(api: Api) -> None:
    result = api.installed("1.3.0").run(llm_api=MTP)
    llm = result.facts.other["llm"]
    assert isinstance(llm, dict)
    assert llm["speculative_config"] == {"decoding_type": "MTP", "max_draft_len": 3}


def test_the_options_in_effect_are_read_from_the_engine(api: Api) -> None:
    result = api.installed("1.2.0").run(llm_api=MTP)
    options = {option.name: option for option in of_saved(result.facts.options_in_effect)}
    assert options["version"] == Option("version", "1.2.0", "tensorrt_llm")
    assert options["tp"].asked == options["tp"].in_effect == 8
    assert options["draft_tokens"] == Option("draft_tokens", 3, "LLM.args", 3)
    assert not [option for option in options.values() if option.differs]
    assert "options_in_effect" not in result.facts.other


def test_an_option_that_is_not_in_effect(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"max_batch_size": 2, "trust_remote_code": False}
    monkeypatch.setenv("DSR1_STANDIN_IN_EFFECT", json.dumps(changed))
    result = api.installed("1.2.0").run()
    differing = [option for option in of_saved(result.facts.options_in_effect) if option.differs]
    assert [option.sentence for option in differing] == [
        "max_batch_size was 2 instead of 4 (LLM.args)",
        "trust_remote_code was off instead of on (LLM.args)",
    ]


@pytest.mark.parametrize("version", ["1.3.0rc5", "1.3.0rc27"])
def test_release_candidates_run_the_draft_length_that_was_asked_for(api: Api, version: str) -> None:
    result = api.installed(version).run(llm_api=MTP)
    steps = [record.decoding_iterations for record in result.records]
    assert min(step for step in steps if step) < 8  # with one draft token, 16 tokens take at least 8


def test_a_draft_length_that_is_accepted_and_lost_ends_before_the_weights_load(api: Api) -> None:
    message = api.installed("1.3.0rc5").failure(dialect="1.3.0rc27", llm_api=MTP)
    assert message.startswith(
        "small: TensorRT-LLM 1.3.0rc5 accepts the options of dialect 1.3.0rc27 (read), but would run 1 draft tokens per step instead of 3; "
        'set engine.dialect: "1.3", which writes both names of this option\n'
    )
    assert api.pids() == []


def test_more_tokens_per_step_than_the_drafts_allow(api: Api) -> None:
    api.monkeypatch.setenv("DSR1_STANDIN_DRAFTS", "3")
    assert re.fullmatch(
        r"small: TensorRT-LLM generated [1-4][.\d]* tokens per step, which 0 draft tokens per step cannot give: "
        "it ran other options than the scenario's",
        api.installed("1.2.1").failure().splitlines()[0],
    )


def test_sizes_of_cuda_graphs_that_do_not_fit_are_refused_by_the_library(api: Api) -> None:
    graphs = {"batch_sizes": [1, 2], "max_batch_size": 8}  # the scenario's own rule refuses this in a file
    assert "batch_sizes and max_batch_size do not fit" in api.installed("1.2.1").failure(
        llm_api={"cuda_graph_config": graphs}
    )


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"allreduce_strategy": "auto"}, "allreduce_strategy"),
        ({"kv_cache_config": {"dtype": "bfloat16"}}, "dtype"),
    ],
)
def test_a_value_that_the_library_does_not_take_is_named(api: Api, options: dict[str, Any], key: str) -> None:
    message = api.installed("1.2.1").failure(llm_api=options)
    assert message.startswith("small: TensorRT-LLM refuses its options: ")
    assert f"{key}: Input should be 'A" in message.replace("'auto'", "'A")


def test_a_version_newer_than_known_is_a_warning(api: Api) -> None:
    left_open, _, newer = api.installed("9.1.0").run().warnings
    assert left_open.startswith("moe_config.backend is not pinned, and differs between 1.2 and the installed")
    assert newer == (
        "TensorRT-LLM 9.1.0 is newer than the newest version that this plugin knows (1.4); the "
        "option names of 1.4 were used"
    )


def test_unknown_options_are_reported_before_the_weights_load(api: Api) -> None:
    message = api.installed("1.2.1").failure(dialect="1.3.0rc27", llm_api=MTP)
    assert message.startswith(
        "small: TensorRT-LLM 1.2.1 has no option speculative_config.max_draft_len of dialect 1.3.0rc27 (read); "
        "remove it from the scenario, or set engine.dialect to the right version\n"
    )
    assert api.pids() == []


def test_values_that_the_version_refuses(api: Api) -> None:
    message = api.installed("1.2.1").failure(environment={"DSR1_STANDIN_REFUSE": "1"})
    assert message.startswith(
        "small: TensorRT-LLM refuses its options: max_batch_size: Input should be greater than or equal to 8\n"
    )
    assert api.pids() == []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "import",
            "tensorrt_llm cannot be imported (libcuda.so.1: cannot open shared object file: No such file or directory) in",
        ),
        (
            "load-memory",
            "TensorRT-LLM ran out of GPU memory while loading the weights: the model is too large for this ",
        ),
        ("load-exit", "TensorRT-LLM's worker ended with exit status 255 and no result\n"),
        (
            "request",
            "1 of 1 requests failed in TensorRT-LLM; the first, request 1 of the dataset: "
            "RequestError: the request exceeds max_num_tokens\n",
        ),
        (
            "short",
            "; the first, request 1 of the dataset: generated 15 tokens, expected 16\n",
        ),
    ],
)
def test_each_failure_is_one_sentence(api: Api, how: str, message: str) -> None:
    # So long that no other request ends before the worker is stopped.
    api.monkeypatch.setenv("DSR1_STANDIN_STEP_S", "0.05")
    found = api.installed("1.2.1").fails(how).failure()
    assert found.startswith("small: ")
    assert message in found


def test_too_few_gpus(api: Api) -> None:
    api.installed("1.2.1").monkeypatch.setenv("DSR1_STANDIN_GPUS", "4")
    assert api.failure().startswith(
        "small: TensorRT-LLM needs 8 GPUs (engine.tp x engine.pp) and finds 4: look at `nvidia-smi` and "
        "CUDA_VISIBLE_DEVICES, and in Docker at --gpus\n"
    )


def test_a_load_that_hangs(api: Api) -> None:
    api.installed("1.2.1").fails("load-hang")
    for limit_s in ever_longer(2.0, lambda: bool(api.pids())):
        message = api.failure(startup_timeout_s=limit_s)
    assert message.startswith(
        f"small: TensorRT-LLM did not start to measure within {limit_s:g} s and was stopped; if it was only slow, "
        "raise engine.startup_timeout_s\n"
    )
    assert len(api.pids()) == 1


def test_a_hang_while_it_measures(api: Api) -> None:
    message = api.installed("1.2.1").fails("hang").failure(run_timeout_s=1.0)
    assert message.startswith(
        "small: TensorRT-LLM did not finish within 1 s and was stopped; if it was only slow, raise "
        "engine.run_timeout_s\n"
    )


def test_a_process_that_dies_without_a_word(api: Api) -> None:
    api.installed("1.2.1").fails("worker").monkeypatch.setenv("DSR1_STANDIN_STEP_S", "0.01")
    message = api.failure(patience_s=1.0)
    (pid,) = api.pids()
    assert (
        f"small: TensorRT-LLM lost 1 of its processes ({pid}) and was silent for 1 s, with 2 of 6 " in message
    )


def test_a_process_that_runs_out_of_memory(api: Api) -> None:
    api.installed("1.2.1").fails("memory").monkeypatch.setenv("DSR1_STANDIN_STEP_S", "0.01")
    message = api.failure(patience_s=1.0)
    assert message.startswith("small: TensorRT-LLM ran out of GPU memory: ")


def test_ctrl_c_while_the_weights_load(api: Api) -> None:
    api.installed("1.2.1").fails("load-hang").watcher.interrupted = "Loading safetensors"
    with pytest.raises(KeyboardInterrupt):
        api.run()


def test_not_installed(api: Api) -> None:
    assert api.failure() == (
        f"small: tensorrt_llm is not installed in {sys.executable}; run pytest in NVIDIA's container "
        "(tensorrt-llm/release) or where TensorRT-LLM is installed"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dialect": "0.21"},
            "small: the engine trtllm needs TensorRT-LLM 1.0 or newer, found 0.21; use `engine.type: "
            "trtllm-bench`, or a newer TensorRT-LLM",
        ),
        (
            {"dialect": "1.0", "llm_api": {"attention_dp_config": {"enable_balance": True}}},
            "small: TensorRT-LLM 1.0 does not have engine.llm_api.attention_dp_config.enable_balance (available "
            "since 1.1); remove it from the scenario or use a newer TensorRT-LLM; if the detected version is "
            "wrong, set engine.dialect to the right one",
        ),
        (
            {"model": {"random_weights": {"config": {"n_group": 0}}}},
            "small: model.random_weights.config: n_group is 0, expected a whole number of at least 1",
        ),
    ],
)
def test_a_scenario_that_cannot_run(api: Api, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Dsr1Error) as caught:
        api.installed("1.2.1").run(**changes)
    assert str(caught.value) == message
    assert not (api.folder / "engine" / "job.json").exists()


def test_random_weights_are_a_configuration_to_load_as_dummy(api: Api) -> None:
    random = {"random_weights": {"config": {"num_hidden_layers": 4}}, "quantization": "FP8_BLOCK_SCALES"}
    api.installed("1.2.1").run(model=random)
    arguments = api.artifact("job.json")["arguments"]
    assert (arguments["load_format"], arguments["model"]) == ("dummy", str(api.folder / "engine" / "model"))
    config = api.artifact("model/config.json")
    assert (config["architectures"], config["model_type"]) == (["DeepseekV3ForCausalLM"], "deepseek_v3")
    assert (config["num_hidden_layers"], config["hidden_size"]) == (4, 7168)
    assert config["quantization_config"]["weight_block_size"] == [128, 128]


@pytest.mark.cpu_engine
def test_the_embedded_engines_model_behind_the_llm_api(api: Api) -> None:
    pytest.importorskip("transformers")
    from tests.helpers.tiny_model import TINY

    api.installed("1.2.1").monkeypatch.setenv("DSR1_STANDIN_MODEL", "embedded")
    result = api.run(model={"random_weights": {"config": TINY}}, streaming=True, run_timeout_s=60.0)
    assert sorted(record.id for record in result.records) == list(range(6))
    assert [record.output_tokens for record in result.records] == [16] * 6
    assert [record.decoding_iterations for record in result.records] == [16] * 6


def test_text_is_refused_where_there_is_no_tokenizer(api: Api) -> None:
    job = api.installed("1.2.1").job(model={"random_weights": {}})
    row = {"task_id": 0, "prompt": "Why?", "output_tokens": 4}
    job.workload.path.write_text((json.dumps(row) + "\n") * 6)
    with pytest.raises(EngineError) as caught:
        TrtllmEngine().run(job, api.watcher)
    assert str(caught.value).startswith(
        f"small: {job.workload.path}:1: the request has no `input_ids`, and random weights have no tokenizer for `prompt`; write the dataset with token ids\n"
    )


def test_a_tokenizer_that_cannot_be_loaded(api: Api) -> None:
    pytest.importorskip("transformers")
    folder = api.folder / "checkpoint"
    folder.mkdir()
    job = api.installed("1.2.1").job(model={"path": str(folder)})
    job.workload.path.write_text(
        (json.dumps({"task_id": 0, "prompt": "Why?", "output_tokens": 4}) + "\n") * 6
    )
    with pytest.raises(EngineError) as caught:
        TrtllmEngine().run(job, api.watcher)
    assert str(caught.value).startswith(f"small: {folder}: the tokenizer cannot be loaded: ")


def test_the_recipe_in_the_docs_is_a_scenario_that_runs(api: Api) -> None:
    text = (ROOT / "docs" / "reference" / "engines" / "tensorrt-llm.md").read_text(encoding="utf-8")
    recipe = textwrap.dedent(text[text.index("    name: llm-api-slice") : text.index("    END")])
    path = api.folder / "llm-api.yaml"
    path.write_text(recipe, encoding="utf-8")
    loaded = load(path)
    assert loaded.warnings == ()
    job = replace(api.installed("1.2.1").job(), scenario=loaded.scenario)
    result = TrtllmEngine().run(job, api.watcher)
    assert result.gpus == 1
    assert all(record.engine for record in result.records)
    assert result.facts.other["iterations"]


def test_the_script_names_the_arguments(api: Api) -> None:
    script = TrtllmEngine().script(api.installed("1.2.1").job(llm_api=MTP))
    lines = script.splitlines()
    assert lines[0] == "# TensorRT-LLM 1.2.1 (installed), dialect 1.2 (read)"
    assert lines[1] == "# engine trtllm: tensorrt_llm.LLM with"
    assert '#   model: "/models/DeepSeek-R1"' in lines
    assert '#   speculative_config: {"decoding_type": "MTP", "num_nextn_predict_layers": 3}' in lines
    assert lines[-1] == "pytest --dsr1-profile=small"


def test_a_forced_acceptance_length_is_in_the_worker_and_the_script(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.installed("1.2.1").job(llm_api=MTP)
    speculation = Speculation(acceptance_length=3)
    forced = replace(job, scenario=job.scenario.model_copy(update={"speculation": speculation}))
    variable = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
    assert f"#   with {variable}=2" in TrtllmEngine().script(forced).splitlines()
    given: list[Mapping[str, str]] = []

    def child(*_: Any, env: Mapping[str, str], **__: Any) -> Any:
        given.append(env)
        raise EngineError("enough")

    monkeypatch.setattr(engine_module, "Child", child)
    with pytest.raises(EngineError, match="enough"):
        TrtllmEngine().run(forced, api.watcher)
    assert given[0][variable] == "2"


def test_the_script_names_what_is_left_open(api: Api) -> None:
    lines = TrtllmEngine().script(api.installed("1.3.0rc8").job(max_batch_size=256)).splitlines()
    named = [line.split(" is not pinned")[0] for line in lines if " is not pinned" in line]
    assert named == [
        "# warning: cuda_graph_config.batch_sizes",
        "# warning: moe_config.backend",
        "# warning: kv_cache_config.use_kv_cache_manager_v2",
    ]


def test_the_options_of_published_configurations_reach_the_library(api: Api) -> None:
    options = {
        "attn_backend": "TRTLLM",
        "batch_wait_timeout_iters": 50,
        "cache_transceiver_config": {"backend": "NIXL", "max_tokens_in_buffer": 16384},
        "enable_chunked_prefill": True,
        "enable_lm_head_tp_in_adp": True,
        "env_overrides": {"TRTLLM_ENABLE_PDL": "1"},
        "kv_cache_config": {"tokens_per_block": 64, "host_cache_size": 1000},
        "moe_config": {"load_balancer": {"num_slots": 288}, "use_low_precision_moe_combine": True},
        "num_postprocess_workers": 4,
        "nvfp4_gemm_config": {"allowed_backends": ["cutlass"]},
        "sparse_attention_config": {"algorithm": "dsa", "index_topk": 2048},
        "torch_compile_config": {"enable_fullgraph": True, "capture_num_tokens": [64]},
        "trust_remote_code": True,
    }
    assert len(api.installed("1.4.0").run(llm_api=options).records) == 6
    written = api.artifact("job.json")["options"]
    assert {key: written[key] for key in options if key != "kv_cache_config"} == {
        key: value for key, value in options.items() if key != "kv_cache_config"
    }
    assert written["kv_cache_config"]["tokens_per_block"] == 64


def test_secrets_are_only_in_the_file_that_the_worker_reads(api: Api) -> None:
    secret = {"env_overrides": {"HF_TOKEN": "planted"}}
    job = api.job(llm_api={"unchecked": secret})
    worker_job(job, dialect_of("1.2")).save(job.artifacts / "job.json")
    assert api.artifact("job.json")["options"]["env_overrides"] == {"HF_TOKEN": "planted"}
    assert (job.artifacts / "job.json").stat().st_mode & 0o777 == 0o600
    assert "planted" not in TrtllmEngine().script(job)


LAUNCHER = (
    "sh",
    "-c",
    '[ "$SLURM_PROCID" != 0 ] && echo rank $SLURM_PROCID || exec "$@" </dev/null',
    "launcher",
)
"""Runs the command in the first rank, without input, as trtllm-llmapi-launch does it."""


def test_a_run_over_two_nodes(api: Api, tmp_path: Path) -> None:
    api.monkeypatch.setenv("PATH", str(srun.install(tmp_path / "slurm")), prepend=os.pathsep)
    for name, value in OF_A_STEP.items():
        api.monkeypatch.setenv(name, value)
    waits = 'echo "srun: Job 7 step creation temporarily disabled, retrying (busy)" >&2; exec "$@"'
    launcher = ["sh", "-c", waits, "sh", *LAUNCHER]
    job = on_two_nodes(api.installed("1.2.1").job(environment={"UCX_TLS": "rc"}), launcher=launcher)
    job = replace(job, questions=(QuestionSet(SAME, 2),))
    result = TrtllmEngine().run(job, api.watcher)
    assert {record.id for record in result.records} == set(range(6))
    assert [answer.error for answer in result.answers] == [None] * 4
    assert any(said.startswith("srun waits for another step of job 7: ") for said in api.watcher.details)
    log = (job.artifacts / "engine.log").read_text()
    assert sorted(re.findall(r"^rank (\d)$", log, re.MULTILINE)) == list("1234567")


def test_the_plan_over_two_nodes_has_its_step(api: Api) -> None:
    job = on_two_nodes(api.installed("1.2.1").job(), launcher=["trtllm-llmapi-launch"], interface="ib0")
    (line,) = [each for each in TrtllmEngine().script(job).splitlines() if "as a step" in each]
    assert line.startswith("# as a step of Slurm: srun --mpi=pmix --nodes=2 --ntasks=8 --ntasks-per-node=4 ")
    assert line.endswith(" job.json 3")
    assert " trtllm-llmapi-launch " in line
    assert "as a step" not in TrtllmEngine().script(api.job())


def test_a_run_over_two_nodes_is_stopped_early(api: Api, tmp_path: Path) -> None:
    api.monkeypatch.setenv("PATH", str(srun.install(tmp_path / "slurm")), prepend=os.pathsep)
    job = on_two_nodes(api.installed("1.2.1").job(), launcher=list(LAUNCHER))
    assert TrtllmEngine().run(replace(job, enough=lambda _: True), api.watcher).stopped


def image(api: Api, path: str) -> Job:
    """Return a job in a container whose Python finds packages only in these folders."""
    folder = api.folder / "image"
    program(folder / "bin", "python3", f'PYTHONPATH={path} exec {sys.executable} -S "$@"')
    api.monkeypatch.setenv("PATH", str(srun.install(api.folder / "slurm")), prepend=os.pathsep)
    return on_two_nodes(api.job(), launcher=list(LAUNCHER), srun=[f"--container-image={folder}"])


def test_a_container_has_its_own_library(api: Api) -> None:
    job = image(api, f"{install(api.folder / 'site', '1.3.0')}:{ROOT}:{Path(psutil.__file__).parents[1]}")
    result = TrtllmEngine().run(job, api.watcher)
    assert result.versions == {"tensorrt_llm": "1.3.0"}
    assert api.watcher.steps[0] == ("starting", "TensorRT-LLM of the container")
    assert TrtllmEngine().script(job).startswith("# newest known dialect 1.3: ")


def test_a_container_without_our_worker_is_named(api: Api) -> None:
    """A launcher may wait for ever after that."""
    job = image(api, str(install(api.folder / "site", "1.3.0")))
    with pytest.raises(EngineError) as caught:
        TrtllmEngine().run(job, api.watcher)
    assert str(caught.value).splitlines()[0] == (
        "small: the container has no pytest-dsr1, whose worker runs there; install it in the image: pip install --no-deps "
        f"pytest-dsr1=={version('pytest-dsr1')}"
    )


SAME = tuple(Question(f"same_answers/{n}", (n, 1, 2), 40, ends=False) for n in range(4))


def asking(api: Api, *questions: Question, at_once: int = 1, **changes: Any) -> EngineResult:
    """Run six requests, then ask."""
    job = replace(api.job(**changes), questions=(QuestionSet(questions, at_once),))
    return TrtllmEngine(patience_s=0.5).run(job, api.watcher)


def test_questions_are_answered_after_the_measured_part(api: Api) -> None:
    """They are longer than the requests, so the model is made for them."""
    result = asking(api.installed("1.2.1"), *SAME)
    assert result.answers == tuple(Answer(question.id, (7,) * 40) for question in SAME)
    assert len(result.records) == 6
    assert api.watcher.steps[-1] == ("finishing", "accuracy: 4 of 4 answers")
    assert result.measured_to_s - result.measured_from_s < 30


def test_an_answer_that_should_have_ended_is_cut_off(api: Api) -> None:
    endless = Question("task/0", SAME[0].prompt, 40, ends=True)
    assert asking(api.installed("1.2.1"), endless).answers == (Answer("task/0", (7,) * 40, cut=True),)


def test_questions_are_asked_after_a_run_that_was_stopped(api: Api) -> None:
    job = replace(api.installed("1.2.1").job(), questions=(QuestionSet(SAME, 2),), enough=lambda _: True)
    result = TrtllmEngine().run(job, api.watcher)
    assert result.stopped
    assert [answer.error for answer in result.answers] == [None] * 4


def test_a_question_that_fails_costs_only_its_answer(api: Api) -> None:
    result = asking(api.installed("1.2.1"), *SAME, max_seq_len=30)
    assert {answer.error for answer in result.answers} == {
        "ValueError: prompt and max_tokens should not exceed max_seq_len (30)"
    }
    assert len(result.records) == 6


def test_a_process_that_dies_while_it_answers_costs_only_answers(api: Api) -> None:
    api.monkeypatch.setenv("DSR1_STANDIN_DIES_AFTER", "8")
    result = asking(api.installed("1.2.1"), *SAME)
    assert len(result.records) == 6
    first, second, *rest = result.answers
    assert (first.tokens, second.tokens) == ((7,) * 40, (7,) * 40)
    for answer in rest:
        assert answer.error is not None
        assert answer.error.startswith("not answered: TensorRT-LLM lost 1 of its processes (")
