from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.tensorrt_llm.failures import FailureContext, explain, next_steps, symptom
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.dialects import dialect_of
from pytest_dsr1.process.log.reader import LogReader

ENGINE = TrtllmBench(type="trtllm-bench", kv_cache_free_gpu_mem_fraction=0.85)
MEMORY = "lower engine.kv_cache_free_gpu_mem_fraction (now 0.85), max_batch_size or max_num_tokens"


def failed(returncode: int, *lines: str, version: str = "1.2") -> FailureContext:
    return FailureContext(returncode, LogReader(lines), ENGINE, dialect_of(version))


# Most ways of failing are shown by the stand-in in test_trtllm_bench.py; here are those it cannot have.
@pytest.mark.parametrize(
    ("returncode", "lines", "sentence"),
    [
        (1, ["torch.OutOfMemoryError: Tried to allocate"], f"ran out of GPU memory: {MEMORY}"),
        (
            2,
            ["Usage: trtllm-bench", "Error: No such option: --x"],
            "refuses its command line: No such option: --x",
        ),
        (127, [], "could not be started: `trtllm-bench` was not found"),
        (126, [], "could not be started: `trtllm-bench` is not executable"),
        (
            -11,
            [],
            "was killed by SIGSEGV (segmentation fault), a bug or software that does not fit together: "
            "look for "
            "its stack in the log, and try another version",
        ),
        (-33, [], "was killed by signal 33"),
        (134, [], "was killed by SIGABRT (abort): look for its last words in the log"),
        (
            137,
            [],
            "was killed by SIGKILL; the kernel's out-of-memory killer does that when the host's memory "
            "runs short: "
            "look at dmesg",
        ),
        (
            1,
            ["RuntimeError: Executor worker returned error"],
            "lost one of its processes, and the log does not say why: look at the process's own log, and "
            "run it by "
            "hand with the command that was kept",
        ),
        (
            1,
            ["mpirun noticed that process rank 2 with PID 0 on node node1 exited on signal 7 (Bus error)."],
            "lost a process, killed by SIGBUS (bus error), usually because shared memory ran out: make "
            "/dev/shm "
            "larger; in Docker: --shm-size=16g or --ipc=host",
        ),
        (
            1,
            ["Loading weights:  3%", "RuntimeError: CUDA error: out of memory"],
            "ran out of GPU memory while loading the weights: the model is too large for this number of "
            "GPUs, or "
            "other processes hold their memory (`nvidia-smi` lists them); a smaller KV cache does not "
            "help, because "
            "it is made later",
        ),
        (
            1,
            ["[TRT-LLM] [E] something is odd"],
            "failed with exit status 1; the first error in its log: something is odd",
        ),
        (
            130,
            ["KeyboardInterrupt"],
            "was interrupted (SIGINT) and ended with exit status 130 without a report",
        ),
        (
            2,
            ["something else"],
            "died with exit status 2 and logged no reason, which usually means that a worker ran out of "
            f"memory: {MEMORY}",
        ),
        (
            2,
            ["trtllm-bench: cannot open its plan"],
            "failed with exit status 2; the last complaint in its log: trtllm-bench: cannot open its plan",
        ),
        (
            2,
            ["[TRT-LLM] [W] Failed to read the plan"],
            "died with exit status 2, and no line of its log says why: look at its last lines",
        ),
        (
            2,
            ["RuntimeError: the library is missing. Falling back to NCCL."],
            "died with exit status 2, and no line of its log says why: look at its last lines",
        ),
        (
            0,
            ["[TRT-LLM] [E] the plan is empty"],
            "ended with exit status 0 but wrote no report; its log has an error: the plan is empty",
        ),
        (
            0,
            ["something else"],
            "ended with exit status 0 but wrote no report, which can mean that memory ran out: " + MEMORY,
        ),
    ],
)
def test_explanations(returncode: int, lines: list[str], sentence: str) -> None:
    assert explain(failed(returncode, *lines)) == sentence


def test_an_unknown_key_without_another_name() -> None:
    lines = ("foo", "  Extra inputs are not permitted [type=extra_forbidden]")
    assert explain(failed(1, *lines)) == (
        "rejects the option `foo` of extra_llm_api_options.yaml, written in dialect 1.2 (read); "
        'try engine.dialect: "1.3"'
    )


def test_a_log_that_says_nothing_has_no_symptom() -> None:
    assert symptom(failed(1, "Loading weights", "a line")) is None


def test_the_next_step_for_the_kv_cache_names_the_keys() -> None:
    line = "ValueError: No available memory for the cache blocks."
    assert explain(failed(1, line)) == (
        "has no room for the KV cache that this scenario needs: ValueError: No available memory for the "
        "cache "
        "blocks; raise engine.kv_cache_free_gpu_mem_fraction (now 0.85), shorten the longest sequence "
        "(engine.max_seq_len), or use more GPUs"
    )
    assert "(now 0.9)" in next_steps(TrtllmBench(type="trtllm-bench"))["kv cache"]


@given(st.integers(-64, 255), st.lists(st.text(max_size=40), max_size=20))
def test_anything_is_explained_in_one_sentence(returncode: int, lines: list[str]) -> None:
    assert explain(failed(returncode, *lines))
