from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.tensorrt_llm.dialects import dialect_of
from pytest_dsr1.engines.tensorrt_llm.failures import SHOWN_LINES, FailureContext, explain, relevant, symptom
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench

ENGINE = TrtllmBench(type="trtllm-bench", kv_cache_free_gpu_mem_fraction=0.85)
MEMORY = "lower engine.kv_cache_free_gpu_mem_fraction (now 0.85), max_batch_size or max_num_tokens"


def failed(returncode: int, *lines: str, version: str = "1.2") -> FailureContext:
    return FailureContext(returncode, lines, ENGINE, dialect_of(version))


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
        (-11, [], "was killed by SIGSEGV"),
        (-33, [], "was killed by signal 33"),
        (134, [], "was killed by SIGABRT"),
        (137, [], "was killed by SIGKILL; the kernel's out-of-memory killer does that: look at dmesg"),
        (
            1,
            ["RuntimeError: Executor worker returned error"],
            "lost a worker process; the kernel's out-of-memory killer does that when the host's memory runs "
            "short: look at dmesg",
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
    assert symptom(failed(1, "Loading weights", "ValueError: x")) is None


def test_relevant_lines_are_the_telling_ones() -> None:
    lines = ["a", "Error: b", "", "c", "x" * 1000 + " error"]
    assert relevant(lines) == ["Error: b", "x" * 300]


def test_without_telling_lines_the_last_are_shown() -> None:
    assert relevant(map(str, range(20))) == [str(n) for n in range(12, 20)]


@given(st.integers(-64, 255), st.lists(st.text(max_size=40), max_size=20))
def test_anything_is_explained_in_one_sentence(returncode: int, lines: list[str]) -> None:
    assert explain(failed(returncode, *lines))
    assert len(relevant(lines)) <= SHOWN_LINES
