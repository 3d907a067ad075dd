"""The acceptance length in TensorRT-LLM's terms: draft tokens, by version."""

from __future__ import annotations

import pytest

from pytest_dsr1.engines.trtllm_options.acceptance import VARIABLE, forced_length, forcing_variables
from pytest_dsr1.engines.trtllm_options.dialects import NEWEST, dialect_of
from pytest_dsr1.errors import UserError
from tests.helpers.values import scenario


@pytest.mark.parametrize(
    ("length", "version", "value"),
    [
        (3, "1.2.0", "2"),
        (3, "1.3.0rc5", "2"),
        (2.4, "1.3", "1.4"),
        (2.4, "1.3.0rc15", "1.4"),
        (1.1, "1.4.0", "0.1"),
        (3, "1.1.0", None),
        (2.4, "1.2.1", None),
        (2.4, "1.3.0rc14", None),
    ],
)
def test_the_variable_is_one_less(length: float, version: str, value: str | None) -> None:
    forced = scenario(speculation={"acceptance_length": length})
    if value is not None:
        assert forcing_variables(forced, version, NEWEST) == {VARIABLE: value}
        return
    with pytest.raises(UserError, match="does not force"):
        forcing_variables(forced, version, NEWEST)


def test_a_whole_number_names_one_limit() -> None:
    with pytest.raises(UserError) as caught:
        forcing_variables(scenario(speculation={"acceptance_length": 3}), None, dialect_of("1.1"))
    assert str(caught.value) == (
        "small: speculation.acceptance_length: TensorRT-LLM 1.1 does not force 3 tokens per step: it forces "
        "none before 1.2; use a newer TensorRT-LLM, or remove the key"
    )


def test_natural_acceptance_needs_no_version() -> None:
    assert forcing_variables(scenario(), "0.18", NEWEST) == {}


def test_the_length_of_a_value() -> None:
    assert [forced_length(value) for value in ("3", "1.4", "0", "-1", "x", "")] == [
        4,
        2.4,
        None,
        None,
        None,
        None,
    ]
