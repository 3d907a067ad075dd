from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pytest_dsr1.engines.registry import create
from pytest_dsr1.engines.tensorrt_llm.bench import engine
from pytest_dsr1.engines.tensorrt_llm.bench.engine import TrtllmBenchEngine
from pytest_dsr1.engines.trtllm_options.installed import offered_options
from pytest_dsr1.errors import EngineError, UserError
from pytest_dsr1.scenario.schema.scenario import Speculation
from tests.helpers.metrics import from_records
from tests.helpers.nodes import OF_A_STEP, on_two_nodes
from tests.helpers.trtllm_bench import Bench
from tests.helpers.waiting import ever_longer, gone, written
from tests.standins import srun
from tests.standins.trtllm_bench.install import install

VERSIONS = (
    *("0.19.0", "0.20.0", "0.21.0", "1.0.0rc4", "1.0.0", "1.1.0", "1.2.1"),
    *("1.3.0rc5", "1.3.0rc27", "1.4.0rc1"),
)
MTP = {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}}


def error_of(bench: Bench, **job: object) -> str:
    with pytest.raises(EngineError) as caught:
        bench.run(**job)
    return str(caught.value)


def test_a_scenario_finds_this_engine(bench: Bench) -> None:
    assert isinstance(create(bench.job().scenario.engine), TrtllmBenchEngine)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_scenario_runs_on_every_version(
    bench: Bench, version: str, workers: Callable[[], list[int]]
) -> None:
    result = bench.installed(version).run(
        max_batch_size=128,
        max_num_tokens=1151,
        ep=8,
        llm_api={**MTP, "print_iter_log": True, "kv_cache_config": {"dtype": "fp8"}},
    )
    assert result.gpus == 8
    assert result.versions == {"tensorrt_llm": version}
    left_open = [one for one in result.warnings if " is not pinned, and differs between 1.2 and " in one]
    assert result.warnings == tuple(left_open)
    assert bool(left_open) is (not version.startswith("1.2"))
    script = bench.artifact("command.sh")
    assert [line for line in script.splitlines() if line.startswith("# warning: ")] == [
        f"# warning: {one}" for one in left_open
    ]
    assert result.report["average_output_length"] == 16
    assert result.report["acceptance_length"] == pytest.approx(16 / 6)
    assert result.measured_from_s < result.measured_to_s <= time.monotonic()
    assert len(workers()) == 1
    assert all(map(gone, workers()))


def test_the_oldest_version_has_no_expert_parallelism(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"TensorRT-LLM 0\.18 does not have engine\.ep \(--ep\)"):
        bench.installed("0.18.1").run(ep=8)
    assert bench.run().report["average_output_length"] == 16


def test_a_draft_length_that_was_accepted_and_lost(bench: Bench) -> None:
    assert error_of(bench.installed("1.3.0rc5"), dialect="1.3.0rc27", llm_api=MTP).splitlines()[0] == (
        "small: trtllm-bench measured something other than the scenario: draft tokens per step 1 instead of "
        '3 (engine.dialect: "1.3" writes both names of this option)'
    )


def test_an_option_without_a_key_reaches_the_command(bench: Bench) -> None:
    more = {"attn_backend": "TRTLLM", "kv_cache_config": {"tokens_per_block": 128}}
    cache = {"free_gpu_memory_fraction": 0.8, "enable_block_reuse": False}
    bench.installed("1.2.1").run(llm_api={"kv_cache_config": cache, "unchecked": more})
    assert yaml.safe_load(bench.artifact("extra_llm_api_options.yaml")) == {
        "attn_backend": "TRTLLM",
        "kv_cache_config": {**cache, "tokens_per_block": 128},
    }
    message = error_of(bench, llm_api={"unchecked": {"attn_backnd": "TRTLLM"}})
    assert message.startswith("small: trtllm-bench rejects the option `attn_backnd`")


def test_without_cuda_graphs(bench: Bench) -> None:
    bench.installed("1.2.1").run(llm_api={"cuda_graph_config": {"enabled": False}})
    assert bench.artifact("extra_llm_api_options.yaml") == "cuda_graph_config: null\n"


def test_without_ep_the_report_has_none(bench: Bench) -> None:
    bench.installed("1.2.1").run()
    assert json.loads(bench.artifact("report.json"))["world_info"]["ep_size"] is None


def test_without_a_limit_all_requests_run_at_once(bench: Bench) -> None:
    job = bench.installed("1.2").job()
    load = job.scenario.load.model_copy(update={"concurrency": "all"})
    unlimited = replace(job, scenario=job.scenario.model_copy(update={"load": load}))
    result = TrtllmBenchEngine().run(unlimited, bench.watcher)
    starts = [record.start_s for record in result.records]
    assert max(starts) < min(record.last_token_s for record in result.records)
    assert "--concurrency" not in bench.artifact("command.sh")


def test_report_and_records_of_a_streaming_run_agree(bench: Bench) -> None:
    result = bench.installed("1.2.1").run(streaming=True, llm_api=MTP)
    assert len(result.records) == 4
    assert bench.watcher.records == list(result.records)
    recomputed = from_records(result.records, result.gpus)
    assert set(recomputed) == set(result.report)
    for name, value in result.report.items():
        assert recomputed[name] == pytest.approx(value, rel=1e-6), name


ZEROS = """\
#!/usr/bin/env python3
import json, os, subprocess, sys
code = subprocess.call(["trtllm-bench", *sys.argv[1:]])
if os.path.exists("report.json"):
    report = json.load(open("report.json"))
    report["streaming_metrics"]["tpot_percentiles"]["minimum"] = 0.0
    json.dump(report, open("report.json", "w"))
sys.exit(code)
"""


@pytest.mark.parametrize("records", [True, False])
def test_a_short_answer_costs_the_time_per_token_of_the_report_alone(bench: Bench, records: bool) -> None:
    program = bench.folder / "trtllm-bench-with-zeros"
    program.write_text(ZEROS, encoding="utf-8")
    program.chmod(0o755)
    installed = bench.installed("1.2.1")
    result = installed.run(streaming=True, command=[str(program)], request_records=records)
    assert not [name for name in result.report if "tpot" in name]
    assert "average_ttft" in result.report
    assert ("average_tpot" in from_records(result.records, result.gpus)) is records
    assert ("average_tpot" in result.facts.not_measured) is not records


def test_progress_and_phases_come_from_the_log(bench: Bench) -> None:
    bench.installed("1.2.1").run()
    phases = bench.watcher.phases
    assert list(dict.fromkeys(phases)) == ["starting", "loading", "warm-up", "measuring", "finishing"]
    assert ("loading", "Loading weights: 100%|##########| 100/100 [00:00<00:00]") in bench.watcher.steps
    assert bench.watcher.done == sorted(bench.watcher.done)
    assert bench.watcher.done[-1] == (4, 64)


@pytest.mark.parametrize("print_iter_log", [True, False])
def test_series_adds_up_to_the_output_tokens(bench: Bench, print_iter_log: bool) -> None:
    result = bench.installed("1.2.1").run(llm_api={"print_iter_log": print_iter_log})
    log = bench.artifact("trtllm-bench.log")
    assert ("iter = 3" in log) is print_iter_log
    # The stand-in takes no time: one interval, from the log's beginning to its end.
    [(_, rate)] = result.series
    assert rate > 0


def test_artifacts_are_kept(bench: Bench) -> None:
    bench.monkeypatch.setenv("TLLM_HMAC_KEY", "hidden")
    bench.monkeypatch.setenv("NCCL_DEBUG", "WARN")
    bench.monkeypatch.setenv("HF_TOKEN", "hidden")
    bench.installed("1.2.1").run(
        environment={"TRTLLM_ENABLE_PDL": "1", "SOME_TOKEN": "hidden"},
        llm_api={"enable_iter_perf_stats": True},
    )
    assert {path.name for path in (bench.folder / "engine").iterdir()} == {
        *("command.sh", "environment.txt", "extra_llm_api_options.yaml", "help.txt"),
        *("trtllm-bench.log", "report.json", "requests.json"),
    }
    assert "--iteration_log iterations.log" in bench.artifact("command.sh")
    assert bench.artifact("extra_llm_api_options.yaml") == "enable_iter_perf_stats: true\n"
    assert (bench.folder / "engine" / "extra_llm_api_options.yaml").stat().st_mode & 0o777 == 0o600
    assert bench.artifact("environment.txt").splitlines() == [
        "NCCL_DEBUG=WARN",
        "PYTHONUNBUFFERED=1",
        "SOME_TOKEN=(not shown)",
        "TLLM_HMAC_KEY=(not shown)",
        "TRTLLM_ENABLE_PDL=1",
    ]
    assert 'export SOME_TOKEN="${SOME_TOKEN:?export it first}"\n' in bench.artifact("command.sh")
    assert "export TRTLLM_ENABLE_PDL=1\n" in bench.artifact("command.sh")
    for path in (bench.folder / "engine").iterdir():
        assert b"hidden" not in path.read_bytes()
        private = path.name in {"command.sh", "environment.txt"}
        assert path.stat().st_mode & 0o077 == 0 or not private
    assert "PERFORMANCE OVERVIEW" in bench.artifact("trtllm-bench.log")
    assert "--request_json" in bench.artifact("help.txt")


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_kept_command_runs_by_itself(bench: Bench, nodes: int) -> None:
    job = spread(bench).job(llm_api=MTP)
    TrtllmBenchEngine().run(on_two_nodes(job) if nodes == 2 else job, bench.watcher)
    report = bench.folder / "engine" / "report.json"
    report.unlink()
    shell = subprocess.Popen(["sh", str(bench.folder / "engine" / "command.sh")], stdout=subprocess.DEVNULL)
    assert shell.wait() == 0
    assert report.exists()
    for pid in (bench.folder / "pids").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_request_records_of_a_large_run_are_not_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dsr1.engines.tensorrt_llm.settings.MOST_RECORDED_TOKENS", 63)
    result = bench.installed("1.2.1").run()
    assert result.records == ()
    assert result.report["request_throughput"] > 0
    assert len(bench.run(request_records=True).records) == 4


def test_a_text_report_serves_where_there_is_no_json(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "offered_options", lambda text: offered_options(text) - {"--report_json"})
    result = bench.installed("1.2.1").run(ep=8)
    assert result.facts.other["report"] == "text"
    assert result.report["request_throughput"] == pytest.approx(5.8160, abs=1e-4)
    (bench.folder / "engine").rename(bench.folder / "before")
    assert error_of(bench.fails("no-report")).splitlines()[0] == (
        "small: trtllm-bench ended with exit status 0 but wrote no report, which can mean that "
        "memory ran out: lower engine.kv_cache_free_gpu_mem_fraction (now 0.9), max_batch_size or "
        "max_num_tokens"
    )


def test_a_json_report_of_unknown_keys_gives_way_to_the_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dsr1.engines.tensorrt_llm.bench.report._JSON_METRICS", {})
    assert bench.installed("0.19.0").run(ep=8).facts.other["report"] == "text"


def test_facts_say_what_was_spoken(bench: Bench) -> None:
    facts = bench.installed("1.4.0").run().facts.saved()
    assert facts["dialect"] == "1.4 (inferred)"
    assert facts["report"] == "json"
    assert facts["engine.quantization"] == "FP8_BLOCK_SCALES"


def test_a_version_newer_than_known_is_a_warning(bench: Bench) -> None:
    assert bench.installed("1.9.0").run().warnings[-1] == (
        "TensorRT-LLM 1.9.0 is newer than the newest version that this plugin knows (1.4); the "
        "option names of 1.4 were used"
    )


def test_an_end_token_leaves_output_lengths_unchecked(bench: Bench) -> None:
    result = bench.installed("1.2.1").fails("short-answers").run(eos_id=1)
    assert result.warnings == (
        "answers end at the end token (engine.eos_id), so output lengths were not checked",
    )


def test_times_of_another_clock_are_shifted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CLOCK_TOLERANCE_S", -1.0)
    result = bench.installed("1.2.1").run(streaming=True)
    assert re.fullmatch(
        r"trtllm-bench's clock is \d+ s off from pytest's clock \(is it on a different node, or in a "
        r"different time namespace\?\); its request times were shifted so that the last request "
        "ends at the time in the log",
        result.warnings[0],
    )
    assert result.measured_to_s == result.records[-1].last_token_s
    assert from_records(result.records, 8)["average_ttft"] == pytest.approx(result.report["average_ttft"])


MEMORY = "lower engine.kv_cache_free_gpu_mem_fraction (now 0.9), max_batch_size or max_num_tokens"
FAILURES = {
    "oom": (f"ran out of GPU memory: {MEMORY}", "CUDA out of memory. Tried to allocate 5.25 GiB"),
    "killed": (
        "was killed by SIGKILL; the kernel's out-of-memory killer does that when the host's memory runs "
        "short: "
        "look at dmesg",
        "Loading weights: 100%",
    ),
    "silent-death": (
        "died with exit status 1 and logged no reason, which usually means that a worker ran out of "
        f"memory: {MEMORY}",
        "Loading weights: 100%",
    ),
    "worker-death": (
        "lost a process, killed by SIGKILL; the kernel's out-of-memory killer does that when the host's "
        "memory "
        "runs short: look at dmesg",
        "mpirun noticed that process rank 3",
    ),
    "sigint": (
        "was interrupted (SIGINT) and ended with exit status 0 without a report",
        "Keyboard interrupt, exiting benchmark...",
    ),
    "weights": (
        "cannot use the checkpoint's quantization: ValueError: Unsupported quantization in "
        "hf_quant_config.json; "
        "choose a checkpoint or a backend that fits this GPU and version",
        "ValueError: Unsupported",
    ),
    "requests-failed": (
        "failed with exit status 1: ValueError: Requests failed: the KV cache is full (3 requests)",
        "ValueError: Requests failed",
    ),
    "no-report": (
        f"ended with exit status 0 but wrote no report, which can mean that memory ran out: {MEMORY}",
        "Benchmark complete.",
    ),
    "truncated-report": (
        "wrote a report that cannot be used: {engine}/report.json: is cut off or not JSON: ",
        "",
    ),
    "nan-report": (
        "wrote a report that cannot be used: {engine}/report.json: performance.total_latency_ms is NaN, "
        "expected a finite number",
        "",
    ),
    "fewer": ("measured something other than the scenario: 3 requests instead of 4", ""),
    "short-answers": (
        "measured something other than the scenario: average output length (OSL) 8 instead of 16",
        "",
    ),
    "ignored-batch": ("measured something other than the scenario: max_batch_size 2048 instead of 128", ""),
    "no-requests": (
        "wrote request records that cannot be used: {engine}/requests.json: was not written",
        "",
    ),
    "fewer-records": ("recorded 3 requests, expected 4", ""),
    "truncated-requests": (
        "wrote request records that cannot be used: {engine}/requests.json: is cut off or not JSON: ",
        "",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_is_one_sentence_and_leaves_nothing_running(
    bench: Bench, failure: str, workers: Callable[[], list[int]]
) -> None:
    sentence, telling = FAILURES[failure]
    message = error_of(bench.installed("1.2.1").fails(failure), max_batch_size=128)
    first, head, *shown = message.splitlines()
    assert first.startswith(f"small: trtllm-bench {sentence.format(engine=bench.folder / 'engine')}")
    assert head == f"The relevant lines of {bench.folder}/engine/trtllm-bench.log:"
    assert 1 <= len(shown) <= 8
    assert any(telling in line for line in shown)
    assert all(map(gone, workers()))


def test_an_uncaught_exception_of_an_old_version(bench: Bench) -> None:
    message = error_of(bench.installed("1.0.0").fails("weights"))
    assert message.startswith(
        "small: trtllm-bench cannot use the checkpoint's quantization: ValueError: Unsupported quantization"
    )


@pytest.mark.parametrize(
    ("failure", "limit", "first_s", "telling", "sentence"),
    [
        (
            "hang-start",
            "startup_timeout_s",
            2.0,
            "Loading weights: 100%",
            "did not start to measure within {s:g} s and was stopped; if it was only slow (loading the "
            "weights can take 25 minutes), raise engine.startup_timeout_s",
        ),
        (
            "worker-death-hang",
            "startup_timeout_s",
            2.0,
            "mpirun noticed that process rank 3",
            "lost a process, killed by SIGKILL; the kernel's out-of-memory killer does that when the "
            "host's memory "
            "runs short: look at dmesg; it did not end within {s:g} s and was stopped",
        ),
        (
            "hang-run",
            "run_timeout_s",
            0.2,
            "Starting benchmark...",
            "did not finish within {s:g} s and was stopped, with 0 of 4 requests done; if it was only slow, "
            "raise engine.run_timeout_s",
        ),
    ],
    ids=["hang-start", "worker-death-hang", "hang-run"],
)
def test_a_hang_is_stopped(
    bench: Bench,
    failure: str,
    limit: str,
    first_s: float,
    telling: str,
    sentence: str,
    workers: Callable[[], list[int]],
) -> None:
    bench.installed("1.2.1").fails(failure)
    for limit_s in ever_longer(first_s, lambda: written(bench.folder, "engine/trtllm-bench.log", telling)):
        message = error_of(bench, **{limit: limit_s})
    assert message.splitlines()[0] == f"small: trtllm-bench {sentence.format(s=limit_s)}"
    assert all(map(gone, workers()))


def test_ctrl_c_leaves_nothing_running(bench: Bench, workers: Callable[[], list[int]]) -> None:
    job = bench.installed("1.2.1").fails("hang-run").job()

    def interrupt(requests: int, output_tokens: int) -> None:
        raise KeyboardInterrupt

    bench.monkeypatch.setattr(bench.watcher, "progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        TrtllmBenchEngine().run(job, bench.watcher)
    assert all(map(gone, workers()))


def test_command_not_found(bench: Bench) -> None:
    assert error_of(bench, command=["no-such-bench"]) == (
        "small: `no-such-bench` was not found; trtllm-bench comes with TensorRT-LLM: run pytest in NVIDIA's "
        "container (tensorrt-llm/release) or where TensorRT-LLM is installed, or set "
        "engine.command to its path"
    )


def test_a_prefix_is_kept(bench: Bench) -> None:
    result = bench.installed("1.2.1").run(command=["env", "PREFIX=1", "trtllm-bench"])
    assert str(result.facts.other["command"]).startswith("env PREFIX=1 trtllm-bench --model ")
    assert result.versions == {"tensorrt_llm": "1.2.1"}


def test_a_help_that_fails_is_explained(bench: Bench) -> None:
    command = ["sh", "-c", "echo 'ImportError: libcuda.so.1: cannot open shared object file'; exit 1"]
    assert error_of(bench, command=command) == (
        "small: trtllm-bench did not list its options: it sees no GPU: ImportError: libcuda.so.1: "
        "cannot open shared object file; look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, and in Docker at "
        "--gpus\n"
        f"The relevant lines of {bench.folder}/engine/help.txt:\n"
        "  | ImportError: libcuda.so.1: cannot open shared object file"
    )


def test_a_help_that_hangs_is_stopped(bench: Bench) -> None:
    assert error_of(bench, command=["sh", "-c", "sleep 600"], startup_timeout_s=0.2) == (
        "small: trtllm-bench did not print its help within 0.2 s and was stopped (engine.startup_timeout_s)\n"
        f"Nothing was logged in {bench.folder}/engine/help.txt."
    )


def test_another_program_is_recognised(bench: Bench) -> None:
    message = error_of(bench, command=["echo"])
    assert message.splitlines()[0] == (
        "small: trtllm-bench printed help text that does not list --dataset; check that engine.command is "
        "trtllm-bench"
    )


def test_model_name_that_is_a_folder(bench: Bench) -> None:
    bench.installed("1.2.1")
    (bench.job().artifacts / "deepseek-ai" / "DeepSeek-R1").mkdir(parents=True)
    assert error_of(bench) == (
        "small: model.name `deepseek-ai/DeepSeek-R1` is a file or folder; trtllm-bench expects a Hugging "
        "Face name here, and the checkpoint's folder in model.path"
    )


def test_a_rejected_key_names_dialect_and_the_next(bench: Bench) -> None:
    message = error_of(bench.installed("1.2.1"), dialect="1.3", llm_api=MTP)
    assert message.splitlines()[0] == (
        "small: trtllm-bench rejects the option `speculative_config.max_draft_len` of "
        'extra_llm_api_options.yaml, written in dialect 1.3 (read); try engine.dialect: "1.2"'
    )


def test_a_rejected_key_of_a_version_before_pydantic(bench: Bench) -> None:
    message = error_of(
        bench.installed("0.21.0"), dialect="1.0", llm_api={"moe_config": {"backend": "TRTLLM"}}
    )
    assert message.splitlines()[0] == (
        "small: trtllm-bench rejects the option `moe_config` of extra_llm_api_options.yaml, written in "
        'dialect 1.0 (inferred); try engine.dialect: "0.21"'
    )


def test_a_usage_error_is_repeated(bench: Bench) -> None:
    bench.monkeypatch.setattr(
        engine, "offered_options", lambda text: frozenset({"--dataset", "--request_json"})
    )
    bench.monkeypatch.setattr(
        "pytest_dsr1.engines.tensorrt_llm.bench.command._arguments",
        lambda *_: ([("--request_json", "x")], {}),
    )
    message = error_of(bench.installed("0.19.0"))
    assert message.splitlines()[0] == (
        "small: trtllm-bench refuses its command line: No such option: --request_json"
    )


def test_missing_options_of_a_version_are_reported_before_it_runs(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        bench.installed("0.20.0").run(
            scheduler_policy="max_utilization", request_records=True, llm_api={"stream_interval": 2}
        )
    assert str(caught.value) == (
        "small: TensorRT-LLM 0.20 does not have engine.llm_api.stream_interval (available since 1.0), "
        "engine.scheduler_policy (--scheduler_policy), engine.request_records (--request_json); remove it "
        "from the scenario or use a newer TensorRT-LLM; if the detected version is wrong, set "
        "engine.dialect to the right one"
    )
    assert not (bench.folder / "engine" / "trtllm-bench.log").exists()


def test_script_in_the_installed_dialect(bench: Bench) -> None:
    script = TrtllmBenchEngine().script(bench.installed("1.2.1").job(llm_api=MTP))
    assert script == (
        "# TensorRT-LLM 1.2.1 (installed), dialect 1.2 (read)\n"
        "set -eu\n"
        f"cd {bench.folder}/engine\n"
        "export PYTHONUNBUFFERED=1\n"
        "cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'\n"
        "speculative_config:\n"
        "  decoding_type: MTP\n"
        "  num_nextn_predict_layers: 3\n"
        "DSR1_OPTIONS\n"
        "trtllm-bench \\\n"
        "  --model deepseek-ai/DeepSeek-R1 \\\n"
        "  --model_path /models/DeepSeek-R1 \\\n"
        "  throughput \\\n"
        f"  --dataset {bench.folder}/dataset.jsonl \\\n"
        "  --tp 8 \\\n"
        "  --num_requests 4 \\\n"
        "  --concurrency 2 \\\n"
        "  --warmup 2 \\\n"
        "  --extra_llm_api_options extra_llm_api_options.yaml \\\n"
        "  --disable_chunked_context \\\n"
        "  --eos_id -1 \\\n"
        "  --report_json report.json \\\n"
        "  --request_json requests.json\n"
    )


def test_script_without_tensorrt_llm(bench: Bench, tmp_path: Path) -> None:
    bench.monkeypatch.setenv("PATH", str(tmp_path))
    script = TrtllmBenchEngine().script(bench.job(llm_api=MTP))
    assert script.splitlines()[0] == "# newest known dialect 1.3: tensorrt_llm is not installed"
    assert "  max_draft_len: 3" in script


def test_only_the_first_requests_of_a_longer_file_are_sent(bench: Bench) -> None:
    """trtllm-bench cannot be stopped, so ``enough`` is not called."""

    def never_asked(_: object) -> bool:
        raise AssertionError

    job = replace(bench.installed("1.2.1").job(requests=2), enough=never_asked)
    result = TrtllmBenchEngine().run(job, bench.watcher)
    assert len(job.workload.path.read_text().splitlines()) == 4
    assert len(result.records) == 2
    assert not result.stopped


SPAWN = "mpi4py.MPI.Exception: MPI_ERR_SPAWN: could not spawn processes"


def test_a_command_after_which_nothing_can_come_is_stopped_early(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dsr1.process.log.waiting.PATIENCE_S", 0.2)
    bench.installed("1.2.1")
    helps = 'case "$*" in *--help*) exec trtllm-bench "$@";; esac'
    command = ["sh", "-c", f"{helps}; echo '{SPAWN}'; sleep 600", "sh"]
    first = error_of(bench, command=command).splitlines()[0]
    assert first.startswith(
        "small: trtllm-bench could not start its worker processes through MPI: "
        f"{SPAWN}; below Slurm, unset SLURM_* for a plain command"
    )
    assert first.endswith("; nothing can come after that, so it was stopped after 0.2 s of silence")


def test_a_job_in_slurms_queue_has_not_started(bench: Bench) -> None:
    queued = "echo 'srun: job 4711 queued and waiting for resources'; sleep 1.2"
    script = f"{queued}; echo 'srun: job 4711 has been allocated resources'; echo --dataset; sleep 600"
    message = error_of(bench, command=["sh", "-c", script], startup_timeout_s=0.5)
    assert message.splitlines()[0] == (
        "small: trtllm-bench did not print its help within 0.5 s and was stopped (engine.startup_timeout_s)"
    )
    assert "has been allocated resources" in bench.artifact("help.txt")
    assert ("starting", "job 4711 waits in Slurm's queue") in bench.watcher.steps


def test_srun_inside_a_step_is_a_mismatch(bench: Bench) -> None:
    settings = bench.installed("1.2.1").job(command=["srun", "trtllm-bench"]).scenario.engine
    findings = list(settings.software({**os.environ, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}))
    assert ("mismatch", "Slurm") in {(finding.severity, finding.subject) for finding in findings}
    assert "Slurm" not in {finding.subject for finding in settings.software(os.environ)}


def spread(bench: Bench, version: str = "1.2.1") -> Bench:
    """Put srun next to the stand-in of a version, in the environment that a step leaves to its tasks."""
    srun.install(bench.installed(version).folder / version / "bin")
    for name, value in OF_A_STEP.items():
        bench.monkeypatch.setenv(name, value)
    return bench


SEEN = """\
import json, os, subprocess, sys
with open(f"seen-{os.environ.get('SLURM_PROCID', 'none')}.json", "w") as file:
    json.dump([sys.argv[1:], dict(os.environ)], file)
sys.exit(subprocess.call(["trtllm-bench", *sys.argv[1:]]))
"""


def test_a_run_over_two_nodes(bench: Bench) -> None:
    program = bench.folder / "seen.py"
    program.write_text(SEEN, encoding="utf-8")
    job = spread(bench).job(command=["python3", str(program)], environment={"UCX_TLS": "rc"})
    job = on_two_nodes(job, interface="ib0")
    result = TrtllmBenchEngine().run(job, bench.watcher)
    assert result.gpus == 8
    assert result.report["average_output_length"] == 16
    command = str(result.facts.other["command"])
    assert command.startswith("srun --mpi=pmix --nodes=2 --ntasks=8 --ntasks-per-node=4 ")
    asked, environ = json.loads(bench.artifact("seen-none.json"))
    assert asked[-2:] == ["throughput", "--help"]  # by one process, which is no task
    assert OF_A_STEP.keys() & environ.keys() == set()
    _, environ = json.loads(bench.artifact("seen-0.json"))
    assert environ["SLURM_NTASKS"] == "8"
    assert (environ["NCCL_SOCKET_IFNAME"], environ["UCX_TLS"]) == ("ib0", "rc")
    assert not (bench.folder / "engine" / "seen-1.json").exists()
    assert "PMIX_RANK" not in environ


def test_the_script_of_two_nodes(bench: Bench) -> None:
    job = on_two_nodes(bench.installed("1.2.1").job(), launcher=["trtllm-llmapi-launch"], interface="ib0")
    lines = TrtllmBenchEngine().script(job).splitlines()
    assert lines[3:5] == ["export PYTHONUNBUFFERED=1", "export NCCL_SOCKET_IFNAME=ib0"]
    assert lines[5:8] == [
        "srun --mpi=pmix --nodes=2 --ntasks=8 --ntasks-per-node=4 --distribution=block --export=ALL --wait=0 "
        "--kill-on-bad-exit=1 --cpu-bind=none --job-name=dsr1-engine --relative=0 trtllm-llmapi-launch \\",
        "  trtllm-bench \\",
        "  --model deepseek-ai/DeepSeek-R1 \\",
    ]


INSIDE = """\
#!/bin/sh
echo "[TensorRT-LLM] TensorRT-LLM version: 1.1.0"
DSR1_STANDIN_VERSION=1.1.0 exec {program} "$@"
"""


def test_a_program_in_a_container_says_its_version(bench: Bench, tmp_path: Path) -> None:
    program = tmp_path / "image" / "bin" / "trtllm-bench"
    program.parent.mkdir(parents=True)
    program.write_text(INSIDE.format(program=install(tmp_path / "inside", "1.1.0")), encoding="utf-8")
    program.chmod(0o755)
    bench.monkeypatch.setenv("PATH", str(srun.install(tmp_path / "slurm")), prepend=os.pathsep)
    job = on_two_nodes(bench.job(), srun=[f"--container-image={tmp_path / 'image'}"])
    result = TrtllmBenchEngine().run(job, bench.watcher)
    assert result.versions == {"tensorrt_llm": "1.1.0"}
    assert str(result.facts.other["dialect"]).startswith("1.1 ")
    assert f"--container-workdir={bench.folder / 'engine'}" in str(result.facts.other["command"])
    assert TrtllmBenchEngine().script(job).startswith("# newest known dialect 1.3: ")


def test_times_of_a_bar_that_came_through_srun_are_not_used(bench: Bench) -> None:
    job = on_two_nodes(spread(bench).job(request_records=False))
    assert TrtllmBenchEngine().run(job, bench.watcher).series == ()
    job = on_two_nodes(bench.job(request_records=False, llm_api={"print_iter_log": True}))
    assert TrtllmBenchEngine().run(job, bench.watcher).series


@pytest.mark.parametrize(
    ("slurm", "sentence"),
    [
        (
            {"mpi": "pmix_v9"},
            "could not start MPI: srun: error: Invalid MPI type 'pmix_v9', --mpi=list for acceptable types",
        ),
        (
            {"launcher": ["no-launcher"]},
            "was not found by its launcher: slurmstepd: error: execve(): no-launcher: No such file or "
            "directory; correct the program's path in engine.command, or in slurm.launcher of the site file",
        ),
        (
            {"srun": ["--no-such-option=x"]},
            "was not started by Slurm: srun: unrecognized option '--no-such-option=x'",
        ),
    ],
)
def test_a_step_that_does_not_start(bench: Bench, slurm: dict[str, object], sentence: str) -> None:
    job = on_two_nodes(spread(bench).job(), **slurm)
    with pytest.raises(EngineError) as caught:
        TrtllmBenchEngine().run(job, bench.watcher)
    assert str(caught.value).startswith(f"small: trtllm-bench {sentence}")


def test_without_srun_there_are_no_nodes(bench: Bench) -> None:
    job = on_two_nodes(
        bench.installed("1.2.1").job(environment={"PATH": f"{bench.folder}/1.2.1/bin:/nowhere"})
    )
    with pytest.raises(EngineError) as caught:
        TrtllmBenchEngine().run(job, bench.watcher)
    assert str(caught.value).splitlines()[0] == (
        "small: trtllm-bench could not be started: cannot start srun: No such file or directory"
    )


def test_a_forced_acceptance_length_reaches_the_command(bench: Bench) -> None:
    program = bench.folder / "seen.py"
    program.write_text(SEEN, encoding="utf-8")
    job = bench.installed("1.4.0rc1").job(command=["python3", str(program)], llm_api=MTP)
    forced = job.scenario.model_copy(update={"speculation": Speculation(acceptance_length=2.4)})
    TrtllmBenchEngine().run(replace(job, scenario=forced), bench.watcher)
    _, environ = json.loads(bench.artifact("seen-none.json"))
    assert environ["TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"] == "1.4"
