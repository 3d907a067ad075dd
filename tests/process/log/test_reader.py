from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.process.log.reader import FAMILIES, SHOWN_LINES, LogReader
from pytest_dsr1.process.log.why import explained

WRAPPER = "RuntimeError: Executor worker returned error"


def name_of(*lines: str) -> str:
    cause = LogReader(lines).cause
    return "" if cause is None else cause.name or cause.text


def test_every_family_has_a_source_and_a_name_of_its_own() -> None:
    assert all(family.source and family.what for family in FAMILIES)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_first_specific_cause_wins_over_wrappers_and_consequences() -> None:
    lines = (
        "RuntimeError: NCCL error: unhandled system error",
        "ValueError: one",
        "ValueError: two",
        WRAPPER,
    )
    assert name_of(*lines) == "ValueError: one"


def test_a_cause_is_kept_no_matter_how_far_above_the_end() -> None:
    log = LogReader(
        ["RuntimeError: CUDA error: out of memory", *(f"RuntimeError: number {i}" for i in range(5000))]
    )
    assert log.cause is not None
    assert log.cause.name == "gpu memory"
    assert log.shown()[0] == "RuntimeError: CUDA error: out of memory"
    assert len(log.shown()) == SHOWN_LINES


def test_the_exception_that_handles_another_says_more() -> None:
    first = ("KeyError: 'x'", "", "During handling of the above exception, another exception occurred:", "")
    assert name_of(*first, "OSError: no tokenizer in /m") == "OSError: no tokenizer in /m"


@pytest.mark.parametrize(
    "recovery",
    [
        "[Autotuner]: OOM detected, falling back to default tactic",
        "Connection failed, retrying in 5 s",
        "using the slow tokenizer instead",
        "Skipping this tactic",
    ],
)
def test_what_a_program_goes_on_without_is_no_cause(recovery: str) -> None:
    assert name_of("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.64 GiB.", recovery) == ""


def test_an_exception_that_python_ignores_is_no_cause() -> None:
    ignored = ("Exception ignored in: <function A.__del__ at 0x1>", "Traceback (most recent call last):")
    assert name_of(*ignored, '  File "x.py", line 1, in __del__', "AttributeError: 'A' has no b") == ""


def test_what_was_logged_before_the_engine_ran_did_no_harm() -> None:
    assert name_of("ValueError: odd", "INFO:     Application startup complete.", "more") == ""


def test_an_import_that_was_tried_is_no_cause_once_weights_load() -> None:
    assert name_of("ModuleNotFoundError: No module named 'flash'", "Loading weights:  1%") == ""
    assert name_of("ModuleNotFoundError: No module named 'flash'") == "import"


def test_a_refused_request_is_no_cause() -> None:
    running = "INFO:     Application startup complete."
    refused = 'INFO:     10.0.0.4:4 - "POST /v1/completions HTTP/1.1" 400 Bad Request'
    assert name_of(running, "ValueError: too long", refused) == ""
    assert name_of(running, "ValueError: broken") == "ValueError: broken"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (
            "mpirun noticed that process rank 2 on node node1 exited on signal 11 (Segmentation fault).",
            11,
        ),
        ("srun: error: node1: tasks 0-3: Killed", 9),
        ("srun: error: node1: task 3: Segmentation fault (core dumped)", 11),
        ("[node1:101829] Signal: Bus error (7)", 7),
        ("/job/script: line 12:  4711 Killed                  trtllm-bench throughput", 9),
        ("Fatal Python error: Segmentation fault", 11),
        ("E0114 03:51:47.214000 51 api.py:874] failed (exitcode: -6) local_rank: 1 (pid: 119)", 6),
        ("subprocess died with <Signals.SIGSEGV: 11>", 11),
        ("container exited with exit code 137", 9),
    ],
)
def test_a_signal_is_read_where_it_is_stated(line: str, number: int) -> None:
    cause = LogReader([line]).cause
    assert cause is not None
    assert cause.number == number


def test_the_out_of_memory_killer_is_only_guessed_at_where_signal_9_is_stated() -> None:
    killed = explained(LogReader(["srun: error: node1: task 0: Killed"]), 1, {}, "x")
    lost = explained(LogReader([WRAPPER]), 1, {}, "x")
    assert killed is not None
    assert lost is not None
    assert "out-of-memory killer" in killed
    assert "out-of-memory killer" not in lost


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (127, "could not be started: `x` was not found"),
        (126, "could not be started: `x` is not executable"),
        (3, None),
    ],
)
def test_a_status_without_a_log(code: int, reason: str | None) -> None:
    assert explained(LogReader(), code, {}, "x") == reason


def test_a_block_of_open_mpi_is_the_first_complaint() -> None:
    rule = "-" * 74
    lines = (rule, "A process or daemon was unable to complete a TCP connection", "to another process:", rule)
    assert explained(LogReader(lines), 1, {}, "x") == (
        "failed with exit status 1; the first error in its log: A process or daemon was unable to "
        "complete a TCP "
        "connection"
    )


def test_text_of_a_model_is_no_cause() -> None:
    lines = ("--- generated text (prompt 1) ---", "ValueError: x", "--- end of generated text ---")
    assert name_of(*lines) == ""
    assert name_of(*lines, "ValueError: y") == "ValueError: y"


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        (["Loading safetensors checkpoint shards:   0% Completed | 0/163"], "gpu memory while loading"),
        (["Loading safetensors checkpoint shards: 100% Completed | 163/163"], "gpu memory"),
        (["Loading weights: 10%", "Capturing CUDA graphs (decode): 3%"], "gpu memory"),
        (
            ["Traceback (most recent call last):", '  File "m.py", line 1, in load_weights'],
            "gpu memory while loading",
        ),
        ([], "gpu memory"),
    ],
)
def test_the_phase_decides_what_gpu_memory_was_for(phase: list[str], name: str) -> None:
    assert name_of(*phase, "torch.OutOfMemoryError: CUDA out of memory.") == name


def test_several_problems_of_pydantic_name_the_first_option() -> None:
    cause = LogReader(
        [
            "pydantic_core._pydantic_core.ValidationError: 2 validation errors for TorchLlmArgs",
            "moe_config.backend",
            "  Input should be 'AUTO' or 'CUTLASS' [type=literal_error, input_value='X', input_type=str]",
            "    For further information visit https://errors.pydantic.dev/2/v/literal_error",
            "max_draft",
            "  Extra inputs are not permitted [type=extra_forbidden, input_value=3, input_type=int]",
        ]
    ).cause
    assert cause is not None
    assert (cause.option, cause.unknown_option) == ("moe_config.backend", False)
    assert cause.text == "moe_config.backend: Input should be 'AUTO' or 'CUTLASS'"


@given(st.lists(st.text(max_size=80), max_size=30))
def test_any_lines_are_read(lines: list[str]) -> None:
    log = LogReader(lines)
    assert log.count == len(lines)
    assert len(log.shown()) <= SHOWN_LINES
    assert log.cause is None or log.cause.raw in lines
