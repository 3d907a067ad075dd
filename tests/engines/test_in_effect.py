"""Options asked for, against those in effect: what is read, what is equal, and what matters."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.in_effect import Option, of_saved, options_in_effect, saved


class Backend(str, Enum):
    CUTLASS = "CUTLASS"


def settings(**fields: object) -> SimpleNamespace:
    return SimpleNamespace(**fields)


def read(asked: dict[str, object], effective: object) -> list[Option]:
    return list(options_in_effect(asked, effective))


def test_each_option_is_read_under_its_name() -> None:
    asked: dict[str, object] = {
        "max_batch_size": 128,
        "moe_config": {"backend": "CUTLASS"},
        "cuda_graph_config": {"batch_sizes": [1, 2]},
        "not_there": 1,
        "kv_cache_config": {"not_there": True},
    }
    effective = settings(
        max_batch_size=64,
        moe_config=settings(backend=Backend.CUTLASS),
        cuda_graph_config={"batch_sizes": (1, 2)},
        kv_cache_config=settings(),
    )
    assert read(asked, effective) == [
        Option("max_batch_size", 128, 64),
        Option("moe_config.backend", "CUTLASS", "CUTLASS"),
        Option("cuda_graph_config.batch_sizes", [1, 2], [1, 2]),
    ]
    assert read(asked, None) == [], "an engine without readable settings"


def test_a_whole_group_that_is_not_in_effect() -> None:
    (option,) = read({"cuda_graph_config": {"batch_sizes": [1]}}, settings(cuda_graph_config=None))
    assert option.sentence == "cuda_graph_config was None instead of {'batch_sizes': [1]}"
    assert option.differs


@pytest.mark.parametrize(
    ("asked", "in_effect", "differs"),
    [
        (128, 128, False),
        (128, 128.0, False),
        (128, 64, True),
        ("fp8", "FP8", False),
        ("fp8", "bfloat16", True),
        ("auto", "fp8", False),
        ("AUTO", None, False),
        (None, 4, False),
        (True, True, False),
        (True, False, True),
        (False, None, True),
        ([1, 2], [1, 2.0], False),
        ([1, 2], [2, 1], True),
    ],
)
def test_when_an_option_differs(asked: object, in_effect: object, differs: bool) -> None:
    assert Option("x", asked, in_effect).differs is differs


@pytest.mark.parametrize(
    ("name", "in_effect", "changes"),
    [
        ("tensor_parallel_size", 4, True),
        ("moe_config.backend", "TRTLLM", True),
        ("speculative_config.num_nextn_predict_layers", 1, True),
        ("cuda_graph_config.batch_sizes", [1, 2], False),
        ("print_iter_log", False, False),
    ],
)
def test_what_changes_the_measurement(name: str, in_effect: object, changes: bool) -> None:
    """Of a list it is not known: an engine may sort it, or leave out what cannot happen."""
    assert Option(name, 8, in_effect).changes_the_measurement is changes


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.booleans(), st.none())))
def test_equal_settings_do_not_differ(asked: dict[str, object]) -> None:
    assert not any(option.differs for option in read(asked, asked))


def test_options_come_back_as_they_were_saved() -> None:
    options = [Option("a", 1, 2), Option("b.c", [1], None)]
    assert list(of_saved(saved(iter(options)))) == options
    assert list(of_saved({"a": [1], "b": "xy", "c": None})) == [], "not of this form"


def test_secrets_are_not_saved_and_do_not_differ() -> None:
    asked: dict[str, object] = {"env_overrides": {"HF_TOKEN": "hunter2"}, "max_batch_size": 8}
    kept = saved(options_in_effect(asked, settings(env_overrides={"HF_TOKEN": "hunter2"}, max_batch_size=4)))
    assert "hunter2" not in str(kept)
    assert [option.name for option in of_saved(kept) if option.differs] == ["max_batch_size"]
