from __future__ import annotations

import pytest

from pytest_dsr1.importing.models import GPUS, checkpoint_on_hugging_face
from pytest_dsr1.machine.gpu.known import KNOWN_GPUS


def test_each_gpu_is_one_that_pytest_dsr1_knows() -> None:
    assert set(GPUS.values()) <= set(KNOWN_GPUS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nvidia/DeepSeek-R1-0528-FP4-V2", "nvidia/DeepSeek-R1-0528-FP4-v2"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-R1-0528"),
        ("deepseek-ai/DeepSeek-R1", None),
    ],
)
def test_a_checkpoint_is_found_in_any_case_of_letters(name: str, found: str | None) -> None:
    checkpoint = checkpoint_on_hugging_face(name)
    assert (checkpoint and checkpoint.name) == found
