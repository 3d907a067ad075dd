from __future__ import annotations

from pathlib import Path

from tests.helpers.imports import harvested, imported, written_options

# NVIDIA/TensorRT-LLM 6b32f284, in examples/configs/database: deepseek-ai/.../H200/1k1k_tp8_conc64.yaml
DATABASE = """\
max_batch_size: 64
cuda_graph_config:
  enable_padding: true
  max_batch_size: 128
print_iter_log: true
kv_cache_config:
  dtype: fp8
  free_gpu_memory_fraction: 0.75
stream_interval: 10
moe_config:
  backend: CUTLASS
speculative_config:
  decoding_type: MTP
  max_draft_len: 3
tensor_parallel_size: 8
moe_expert_parallel_size: 8
trust_remote_code: true
max_num_tokens: 1344
max_seq_len: 2304
"""


def saved(folder: Path, path: str, text: str = DATABASE) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_the_path_says_the_load(tmp_path: Path) -> None:
    file = saved(tmp_path, "deepseek-ai/DeepSeek-R1-0528/H200/1k1k_tp8_conc64.yaml")
    ((name, loaded),) = imported(file, tmp_path / "out").items()
    assert name == "DeepSeek-R1-0528-h200-1k1k_tp8_conc64"
    scenario = loaded.scenario
    assert (scenario.hardware.gpu, scenario.hardware.count) == ("NVIDIA H200", 8)
    assert (scenario.dataset.input_tokens, scenario.dataset.output_tokens) == (1024, 1024)
    assert (scenario.load.concurrency, scenario.load.num_requests) == (64, 640)
    assert scenario.source is not None
    assert scenario.source.notes[1:] == [
        "The file does not say how many requests: 10 for each in flight, as in perf-sanity.",
        "The file says nothing about a warm-up: there is none.",
    ]
    told = written_options(loaded)
    assert told["kv_cache_config"] == {"dtype": "fp8", "free_gpu_memory_fraction": 0.75}
    assert told["trust_remote_code"] is True
    assert len(told) == 12


def test_a_file_without_a_load_in_its_name_is_refused(tmp_path: Path) -> None:
    found = harvested(saved(tmp_path, "curated/deepseek-r1-throughput.yaml"))
    assert (found.cases, found.problems) == ([], [])
    assert [refusal.reason for refusal in found.refusals] == [
        "it is an options file without a load; a name such as B200/1k1k_tp8_conc64.yaml would say it. Write "
        "a scenario "
        "with your load, and put the options into engine.llm_api"
    ]


def test_another_model_and_another_gpu_are_refused(tmp_path: Path) -> None:
    other = harvested(saved(tmp_path, "Qwen/Qwen3-235B-A22B/B200/1k1k_tp4_conc16.yaml"))
    assert [refusal.reason for refusal in other.refusals] == [
        "its folder names another model (Qwen/Qwen3-235B-A22B)"
    ]
    gpu = harvested(saved(tmp_path, "nvidia/DeepSeek-R1-0528-FP4-v2/L40/1k1k_tp8_conc16.yaml"))
    assert [refusal.reason for refusal in gpu.refusals] == [
        "the GPU L40 is unknown (known: H100, H200, B200, B300, GB200, GB300)"
    ]


def test_a_name_that_contradicts_the_options_is_a_mistake(tmp_path: Path) -> None:
    path = "nvidia/DeepSeek-R1-0528-FP4-v2/B200_NVL/8k1k_tp4_conc16.yaml"
    text = DATABASE.replace("max_seq_len: 2304", "max_seq_len: long").replace(
        "print_iter_log: true", "a: 010"
    )
    found = harvested(saved(tmp_path, path, text))
    assert found.cases == []
    assert [str(problem).removeprefix(f"{tmp_path}/{path}:") for problem in found.problems] == [
        "5:4: a: TensorRT-LLM reads 010 as 8, pytest-dsr1 as 10: write it in another form",
        "15:23: tensor_parallel_size: expected 4, as the file's name says, found 8",
        "19:14: max_seq_len: expected a whole number of at least 1, found the text 'long'",
    ]
