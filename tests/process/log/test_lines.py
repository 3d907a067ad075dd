from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.process.log.lines import plain_line, without_escapes

ERROR = "ValueError: boom"
WRAPPED = {
    "srun --label": (f"0: {ERROR}", ""),
    "srun --label, padded": (f"  12: {ERROR}", ""),
    "mpirun --tag-output": (f"[1,0]<stderr>:{ERROR}", ""),
    "mpirun --timestamp-output": (f"Sat Nov 28 10:26:10 2026[1,3]<stdout>:{ERROR}", ""),
    "PRRTE": (f"[prterun-node1-123@1,0]<stderr>: {ERROR}", ""),
    "docker compose": (f"vllm-1  | {ERROR}", ""),
    "docker compose over vLLM": (
        f"vllm-1  | (APIServer pid=2) ERROR 12-29 15:21:50 [core.py:866] {ERROR}",
        "error",
    ),
    "vLLM before 0.9": (f"INFO 12-29 15:20:50 api_server.py:526] {ERROR}", "info"),
    "SGLang": (f"[2026-11-28 10:26:10 TP0] {ERROR}", ""),
    "TensorRT-LLM": (f"[11/29/2026-10:26:10] [TRT-LLM] [RANK 7] [E] {ERROR}", "error"),
    "TensorRT-LLM in C++": (f"[TensorRT-LLM][WARNING] {ERROR}", "warning"),
    "torchrun": (f"[rank3]: {ERROR}", ""),
    "PyTorch's glog": (f"[rank0]:[E1128 10:26:10.123 ProcessGroupNCCL.cpp:629] [Rank 0] {ERROR}", "error"),
    "TensorFlow's glog": (f"E0000 00:00:1732114421.123 123 cuda_dnn.cc:8310] {ERROR}", "error"),
    "Ray": (f"(RayWorkerWrapper pid=12, ip=10.0.0.1) {ERROR}", ""),
    "kubectl": (f"[pod/vllm-0/vllm] {ERROR}", ""),
    "containerd": (f"2026-11-28T10:26:10.123456789Z stderr F {ERROR}", ""),
    "syslog": (f"Nov 28 10:26:10 node1 trtllm[123]: {ERROR}", ""),
    "Python's logging": (f"2026-11-28 10:26:10,123 - INFO - flashinfer.jit: {ERROR}", "info"),
    "Python's logging, name first": (f"2026-11-28 10:26:10,123 - vllm.core - WARNING - {ERROR}", "warning"),
    "Python's basic logging": (f"ERROR:root:{ERROR}", "error"),
    "loguru": (f"2026-11-28 10:26:10.123 | ERROR | vllm.x:foo:12 - {ERROR}", "error"),
    "uvicorn": (f"ERROR:    {ERROR}", "error"),
    "pdsh": (f"node3: {ERROR}", ""),
    "Open MPI": (f"[node1:12345] {ERROR}", ""),
    "colors": (f"\x1b[1;36m(APIServer pid=1)\x1b[0;0m \x1b[31m{ERROR}\x1b[0m", ""),
    "an exception group": (f"  | {ERROR}", ""),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_a_prefix_is_taken_off(wrapper: str) -> None:
    text, level = WRAPPED[wrapper]
    line = plain_line(text)
    assert (line.text, line.level) == (ERROR, level)


@pytest.mark.parametrize(
    "wrapper", ["0: ", "(APIServer pid=1) ", "ERROR 12-29 15:21:50 [core.py:866] ", "[rank3]: "]
)
def test_the_indentation_of_a_frame_stays(wrapper: str) -> None:
    assert plain_line(f'{wrapper}  File "x.py", line 1, in f').text == '  File "x.py", line 1, in f'


@pytest.mark.parametrize(
    "text",
    [
        "torch.cuda.OutOfMemoryError: CUDA out of memory",
        "OSError: [Errno 12] Cannot allocate memory",
        "srun: error: node1: task 3: Killed",
        "Error: No such option: --x",
        "speculative_config.max_draft_len",
        "1       0x7a2d00e89f0a /opt/x.so",
    ],
)
def test_a_line_without_a_prefix_stays(text: str) -> None:
    assert plain_line(text).text == text


def test_nccl_keeps_its_words() -> None:
    text = "node1:21858:21858 [2] misc/shmutils.cc:113 NCCL WARN Error while creating"
    assert plain_line(text).text == "NCCL WARN Error while creating"


@given(st.text(max_size=60))
def test_any_text_is_a_line(text: str) -> None:
    assert "\x1b[" not in without_escapes(f"\x1b[31m{text}".replace("\x1b\x1b", ""))[:2]
    assert len(plain_line(text).text) <= len(text)
