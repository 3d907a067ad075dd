from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, Field

from pytest_dsr1.engines.tensorrt_llm.llm_api.job import nothing_unknown, refusal
from pytest_dsr1.process.worker import WorkerError


class Mtp(BaseModel):
    decoding_type: Literal["MTP"] = "MTP"
    max_draft_len: int = Field(1, validation_alias=AliasChoices("max_draft_len", "num_nextn_predict_layers"))


class Ngram(BaseModel):
    max_matching_ngram_size: int = 1


class Args(BaseModel):
    model: str
    max_batch_size: int = Field(8, ge=1)
    speculative: Mtp | Ngram | None = None
    environment: dict[str, str] | None = None
    spelt: int = Field(1, alias="written")


def told(**arguments: Any) -> str:
    with pytest.raises(WorkerError) as caught:
        nothing_unknown(arguments, Args, "1.2.1", "1.2 (read)")
    return str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "x", "max_batch_size": 1},
        {"speculative": {"decoding_type": "MTP", "num_nextn_predict_layers": 3}},
        {"speculative": {"max_draft_len": 3, "max_matching_ngram_size": 3}},
        {"environment": {"ANY_NAME": "1"}},
        {"written": 1},
    ],
)
def test_what_the_classes_declare_is_known(arguments: dict[str, Any]) -> None:
    nothing_unknown(arguments, Args, "1.2.1", "1.2 (read)")


def test_all_that_is_unknown_is_told_with_the_nearest_name() -> None:
    assert told(max_batchsize=1, speculative={"max_draft_length": 3}, zzz=1) == (
        "TensorRT-LLM 1.2.1 has no option max_batchsize (did you mean 'max_batch_size'?), "
        "speculative.max_draft_length (did you mean 'max_draft_len'?), zzz of dialect 1.2 (read); "
        "remove it from the scenario, or set engine.dialect to the right version"
    )


def test_a_refused_value_is_named() -> None:
    with pytest.raises(ValueError, match="max_batch_size") as caught:
        Args.model_validate({"model": "x", "max_batch_size": 0})
    assert refusal(caught.value) == (
        "TensorRT-LLM refuses its options: max_batch_size: Input should be greater than or equal to 1"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("Only 4 GPUs are available, but 8 are required."),
            "TensorRT-LLM needs 8 GPUs (engine.tp x engine.pp) and finds 4: look at `nvidia-smi` and "
            "CUDA_VISIBLE_DEVICES, and in Docker at --gpus",
        ),
        (KeyError("weights\nof layer 3"), "TensorRT-LLM failed: KeyError: 'weights\\nof layer 3'"),
        (OSError("no space\nleft"), "TensorRT-LLM failed: OSError: no space"),
    ],
)
def test_other_errors(error: Exception, message: str) -> None:
    assert refusal(error) == message
