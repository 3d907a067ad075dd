"""Options asked for, against those in effect: what is equal, what matters, and what is saved."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.in_effect import (
    KNOWN,
    NOT_ASKED,
    NOT_READ,
    Option,
    alike,
    can_matter,
    differing,
    facts,
    not_read,
    of_saved,
    saved,
    shown,
    with_asked,
)
from tests.helpers.paths import DOCS


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
        (NOT_ASKED, 4, False),
        (None, 4, False),
        (True, True, False),
        (True, False, True),
        (False, None, True),
        ([1, 2], [1, 2.0], False),
        ([1, 2], [2, 1], False),
        ([1, 2], [1, 2, 4], True),
    ],
)
def test_when_an_option_differs(asked: object, in_effect: object, differs: bool) -> None:
    """An engine that may choose is always right, and it may sort a list."""
    assert Option("x", in_effect, "log", asked).differs is differs


def test_the_page_has_each_option_and_whether_it_makes_a_run_invalid() -> None:
    """With a star it does, if it differs; an option of one engine alone does not."""
    page = (DOCS / "reference" / "results.md").read_text(encoding="utf-8")
    section = page.partition("\n## Options in effect\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*`)( \*)? \|", section, re.MULTILINE)
    invalid = {name: star != "" for names, star in cells for name in re.findall(r"\w+", names)}
    assert invalid.keys() == KNOWN.keys()
    for name, matters in {**invalid, "print_iter_log": False}.items():
        found = saved([Option(name, 1, "log", 8)])
        assert differing(found, matter=matters) == [f"{name} was 1 instead of 8 (log)"]
        assert differing(found, matter=not matters) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "on"), (False, "off"), (8, "8"), ("FP8", "FP8"), ([1, 2, True], "1, 2, on")],
)
def test_values_in_words(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_first_value_read_counts_beside_the_one_asked_for() -> None:
    read = [Option("tp", 4, "/metrics"), Option("tp", 8, "server.log"), Option("version", None, "log")]
    read += [Option("version", "1.2", "/version")]
    assert list(with_asked(read, {"tp": 8, "never_read": 1})) == [
        Option("tp", 4, "/metrics", 8),
        Option("version", "1.2", "/version"),
        Option("never_read", NOT_READ, "", 1),
    ]


def test_what_was_asked_for_and_not_read_is_saved_if_it_changes_the_measurement() -> None:
    """Of these the engine said nothing, so nobody knows whether they were in effect."""
    read = [Option("tp", 8, "log"), Option("moe_backend", "auto", "log")]
    asked = {
        "tp": 8,
        "moe_backend": "TRTLLM",
        "cuda_graphs": True,
        "kv_cache_dtype": "auto",
        "max_seq_len": 4096,
        "print_iter_log": True,
    }
    options = saved(with_asked(read, asked))
    assert options == {
        "tp": {"in_effect": 8, "asked": 8, "read_from": "log"},
        "moe_backend": {"asked": "TRTLLM"},
        "cuda_graphs": {"asked": True},
    }
    assert not_read(options) == ("moe_backend", "cuda_graphs")
    assert [option.name for option in of_saved(options)] == ["tp"]
    assert differing(options, matter=True) == differing(options, matter=False) == []
    assert not_read({"x": 1, "y": {}}) == ()


def test_the_sentences_of_what_differs() -> None:
    """What changes the measurement makes a run INVALID; the rest is a warning."""
    options = saved(
        [
            Option("cuda_graphs", False, "server.log", True),
            Option("max_seq_len", 4096, "server.log", 8192),
            Option("tp", 8, "server.log", 8),
            Option("version", "1.2", "server.log"),
        ]
    )
    assert differing(options, matter=True) == ["cuda_graphs was off instead of on (server.log)"]
    assert differing(options, matter=False) == ["max_seq_len was 4096 instead of 8192 (server.log)"]


def test_the_facts_of_a_fingerprint() -> None:
    """Plain values; the version is among those of the engine."""
    options = saved(
        [
            Option("cuda_graphs", False, "server.log", True),
            Option("tp", 8, "server.log"),
            Option("gpu_memory_fraction", 0.9, "server.log"),
            Option("cuda_graph_batch_sizes", [1, 2], "server.log"),
            Option("moe.backends", {"a": 1}, "server.log"),
            Option("version", "1.2", "server.log"),
        ]
    )
    assert facts(options) == {
        "in_effect.cuda_graphs": False,
        "in_effect.tp": 8,
        "in_effect.gpu_memory_fraction": 0.9,
        "in_effect.cuda_graph_batch_sizes": ["1", "2"],
        "in_effect.moe.backends": "{'a': 1}",
    }


@pytest.mark.parametrize(
    ("name", "old", "new", "same"),
    [
        ("moe_backend", "DEEPGEMM", "deepgemm", True),
        ("moe_backend", "DEEPGEMM", "CUTLASS", False),
        ("kv_cache_dtype", "fp8_e4m3", "fp8", True),
        ("cuda_graph_batch_sizes", ["2", "1"], ["1", "2"], True),
        ("tp", 8, 8.0, True),
        ("max_num_tokens", 1000, 1001, False),
        ("kv_cache_tokens", 1000, 950, True),
        ("kv_cache_tokens", 950, 1000, True),
        ("kv_cache_tokens", 1000, 949, False),
        ("kv_cache_tokens", 0, 0, True),
        ("kv_cache_gib", 60.1, 60.2, True),
        ("kv_cache_blocks", "many", 1000, False),
    ],
)
def test_which_options_of_two_runs_are_alike(name: str, old: Any, new: Any, same: bool) -> None:
    """The memory that is left for the KV cache differs a little from start to start."""
    assert alike(f"in_effect.{name}", old, new) is same


def test_which_differences_can_change_a_figure() -> None:
    for name, can in {"moe_backend": True, "max_seq_len": False, "kv_cache_gib": True, "own": True}.items():
        assert can_matter(f"in_effect.{name}") is can


values = st.one_of(st.integers(), st.sampled_from(["fp8", "x", ""]), st.booleans(), st.lists(st.integers()))


@given(st.dictionaries(st.text(min_size=1), values))
def test_options_come_back_as_they_were_saved(asked: dict[str, object]) -> None:
    options = [Option(name, value, "log", value) for name, value in asked.items()]
    options += [Option("what the engine chose", 1, "log"), Option("another value", 2, "log", 1)]
    back = list(of_saved(saved(options)))
    assert [option.name for option in back if option.differs] == ["another value"]
    assert back == options


@pytest.mark.parametrize("value", [None, "auto", "AUTO", "None"])
def test_what_the_engine_does_not_say_was_not_read(value: object) -> None:
    options = saved([Option("kv_cache_dtype", value, "log", "fp8")])
    assert (list(of_saved(options)), not_read(options)) == ([], ("kv_cache_dtype",))
    assert saved([Option("kv_cache_dtype", value, "log")]) == {}


@pytest.mark.parametrize(("asked", "in_effect"), [("fp8", "fp8_ds_mla"), ("fp8_e4m3", "FP8")])
def test_names_of_one_format_are_equal(asked: str, in_effect: str) -> None:
    assert not Option("kv_cache_dtype", in_effect, "log", asked).differs
    assert Option("x", in_effect, "log", asked).differs


def test_what_is_not_a_saved_option_is_left_out() -> None:
    assert list(of_saved({"a": [1, 2], "b": "xy", "c": None, "d": {"asked": 1}})) == []


@pytest.mark.parametrize(
    "name", ["env_overrides.HF_TOKEN", "connector.credentials.key_id", "x.api_keys.first"]
)
def test_secrets_are_not_saved_and_do_not_differ(name: str) -> None:
    kept = saved([Option(name, "hunter2", "LLM.args", "hunter2")])
    assert "hunter2" not in str(kept)
    assert not differing(kept, matter=False)


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    assert saved([Option("version", "1\ud83d", "/version")])["version"]["in_effect"] == "1?"


def test_numbers_of_any_size_are_compared() -> None:
    assert Option("x", 10**400, "log", 10**400 + 1).differs
