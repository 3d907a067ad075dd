"""Rings: which facts must be as in the references, which may differ, which are not compared."""

from __future__ import annotations

import pytest

from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.comparability import (
    EVERYTHING,
    Facts,
    changed,
    differences,
    in_brief,
    node,
    role,
    short,
    shown,
    unfit,
    unlike,
    with_role,
)
from pytest_dsr1.machine.values import FORCED, FactValue
from tests.helpers.reference_store import FACTS, NODE


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("gpu.name", "fixed"),
        ("gpu.uuids", "fixed"),
        ("gpu.power_limit_w", "fixed"),
        ("setup.sm_clock_lock_mhz", "fixed"),
        ("gpu.max_sm_clock_mhz", "fixed"),
        ("gpu.application_clock_mhz", "fixed"),
        ("gpu.application_memory_clock_mhz", "fixed"),
        ("cpu.model", "fixed"),
        ("model.content", "fixed"),
        ("dataset.content", "fixed"),
        ("option.load.arrival.rate_req_s", "fixed"),
        ("option.gpu_setup.vboost", "fixed"),
        ("option.speculation.acceptance_length", "fixed"),
        ("library.pytest-dsr1", "fixed"),
        ("library.torch", "under test"),
        ("driver", "under test"),
        ("engine.tensorrt_llm", "under test"),
        ("container.image", "under test"),
        ("option.engine.llm_api.stream_interval", "under test"),
        ("a fact of a later version", "under test"),
        ("hostname", "shown"),
        ("probe.memory_bandwidth_gb_s", "shown"),
        ("probe.after.memory_bandwidth_gb_s", "shown"),
        ("gpu.power_default_w", "shown"),
        ("option.load.num_requests", "shown"),
        ("option.engine.run_timeout_s", "shown"),
        ("option.engine.silence_timeout_s", "shown"),
        ("option.engine.url", "shown"),
    ],
)
def test_the_role_of_a_fact(key: str, expected: str) -> None:
    assert role(key, {}) == expected


def test_no_wildcard_lets_a_forced_acceptance_length_differ() -> None:
    assert role(FORCED, {"option.*": True}) == "fixed"
    assert role(FORCED, {"*": True}) == "fixed"
    assert role(FORCED, {FORCED: True}) == "under test"
    assert role(FORCED, comparability.EVERYTHING) == "under test"


def test_a_scenario_moves_facts_and_its_last_pattern_that_fits_counts() -> None:
    under_test = {"library.*": False, "library.torch": True, "gpu.power_limit_w": True, "hostname": False}
    assert role("library.numpy", under_test) == "fixed"
    assert role("library.torch", under_test) == "under test"
    assert role("gpu.power_limit_w", under_test) == "under test"
    assert role("hostname", under_test) == "shown"
    assert role("library.torch", {"library.torch": True, "library.*": False}) == "fixed"


def test_a_pattern_that_matches_nothing_is_reported() -> None:
    assert unfit({"library.*": False, "gpu.uuids": True}, FACTS) == ()
    for pattern, meant in (("driverr", " (did you mean 'driver'?)"), ("hostname", "")):
        assert unfit({pattern: True}, FACTS) == (
            f"gate.under_test: {pattern!r} matches no fact that the gate compares{meant}; see "
            "`fingerprint` in measurement.json for the list",
        )


def test_probes_are_compared_as_far_as_they_can_show() -> None:
    """So no list of what differs names a difference that is none."""
    copy, read = "probe.memory_bandwidth_gb_s", "probe.after.memory_read_gb_s"
    old: Facts = {copy: 4258.0, read: 4380.0}
    assert unlike([old, {copy: ["4258", "4250"], read: 4381.0}]) == []
    assert unlike([old, {copy: ["4258", "4000"], read: 4300.0}]) == [read, copy]
    assert unlike([old, {}]) == [read, copy]
    assert differences(old, {}, EVERYTHING) == changed(old, {}, EVERYTHING) == []


def test_a_node_is_its_gpus_in_any_order() -> None:
    assert node(FACTS) == node({"gpu.uuids": ["GPU-a", "GPU-b"]}) == NODE
    assert node({"gpu.count": 0}) == node({"gpu.uuids": []}) == "cpu"
    assert short("cpu") == "cpu"
    assert short(NODE) == "gpu-95a932d6"


def test_every_difference_is_reported() -> None:
    here: dict[str, FactValue] = {
        **FACTS,
        "gpu.power_limit_w": 500.0,
        "gpu.uuids": ["GPU-x"],
        "model.content": "cd" * 32,
        "driver": "580",
        "option.load.ramp_s": 2.5,
    }
    del here["gpu.vboost"]
    assert differences(FACTS, here, {}) == [
        "gpu.power_limit_w: 700 in the references, 500 here",
        "gpu.vboost: 0 in the references, none here",
        "model.content: abababababab... in the references, cdcdcdcdcdcd... here",
        "option.load.ramp_s: none in the references, 2.5 here",
    ]


@pytest.mark.parametrize("key", comparability.IF_KNOWN)
def test_clocks_are_compared_where_both_sides_report_them(key: str) -> None:
    """Older references without them, and a driver that no longer reports them, stay comparable."""
    there, elsewhere = {**FACTS, key: 1980}, {**FACTS, key: 1500}
    assert differences(there, elsewhere, {}) == [f"{key}: 1980 in the references, 1500 here"]
    assert differences(there, {**FACTS, key: ["1980", "1500"]}, {}) == [
        f"{key}: 1980 in the references, [1980, 1500] here"
    ]
    for without in (FACTS, {**FACTS, key: None}):
        assert differences(without, there, {}) == differences(there, without, {}) == []
        assert changed(without, there, comparability.EVERYTHING) == []


def test_what_changed_is_reported() -> None:
    here: dict[str, FactValue] = {**FACTS, "library.torch": "2.11.0", "container.image": "x", "kernel": "6.9"}
    assert changed(FACTS, here, {}) == ["container.image: none -> x", "library.torch: 2.10.0 -> 2.11.0"]
    assert changed(FACTS, here, {"library.torch": False}) == ["container.image: none -> x"]
    assert differences(FACTS, here, {"library.torch": False}) == [
        "library.torch: 2.10.0 in the references, 2.11.0 here"
    ]


def test_everything_that_is_compared_can_be_listed_as_changed() -> None:
    here: dict[str, FactValue] = {**FACTS, "driver": "580", "gpu.power_limit_w": 500.0, "kernel": "6.9"}
    assert changed(FACTS, here, comparability.EVERYTHING) == [
        "driver: 575.57.08 -> 580",
        "gpu.power_limit_w: 700 -> 500",
    ]


def test_a_moved_node_is_compared_by_itself_only() -> None:
    under_test = {"gpu.*": True}
    assert comparability.any_node(under_test)
    assert not comparability.any_node({})
    assert changed(FACTS, {**FACTS, "gpu.uuids": ["GPU-x"], "gpu.vboost": 4}, under_test) == [
        "gpu.vboost: 0 -> 4"
    ]
    assert "gpu.uuids" not in with_role("under test", FACTS, under_test)


@pytest.mark.parametrize(
    ("key", "old", "new", "same"),
    [
        ("gpu.power_limit_w", 700.0, 699.998, True),
        ("gpu.power_limit_w", 700.0, ["699.998", "700.0"], True),
        ("gpu.power_limit_w", ["700.0", "999.9"], ["1000.0", "700.0"], True),
        ("gpu.power_limit_w", 700.0, 699.0, False),
        ("gpu.power_limit_w", ["700.0", "500.0"], ["500.0", "700.0"], True),
        ("gpu.power_limit_w", ["700.0", "500.0"], ["500.0", "None"], False),
        ("gpu.power_limit_w", ["700.0", "500.0"], ["500.0", "700.0", "700.0"], False),
        ("gpu.power_limit_w", 700.0, None, False),
        ("gpu.power_limit_w", 700.0, 699.5, True),
        ("gpu.power_limit_w", 700.0, 699.4, False),
        ("gpu.memory_gib", 140.4, 139.8, True),
        ("gpu.memory_gib", 140.4, 138.9, True),
        ("gpu.memory_gib", 140.4, 138.4, True),
        ("gpu.memory_gib", ["140.4", "179.1"], ["138.9", "177.6"], True),
        ("gpu.memory_gib", 140.4, 138.3, False),
        ("gpu.memory_gib", ["140.4", "140.4"], ["140.4", "138.3"], False),
        ("gpu.memory_gib", 140.4, 79.6, False),
        ("gpu.vboost", 0, 1, False),
        ("gpu.ecc", ["True", "False"], ["False", "True"], True),
        ("option.load.arrival.rate_req_s", 2.0, 2.0000001, False),
    ],
)
def test_readings_that_vary_on_one_machine_are_the_same(
    key: str, old: FactValue, new: FactValue, same: bool
) -> None:
    assert (differences({key: old}, {key: new}, {}) == []) == same
    assert (differences({key: new}, {key: old}, {}) == []) == same


def test_options_are_lists_in_order() -> None:
    one: dict[str, FactValue] = {"option.engine.command": ["srun", "trtllm-bench"]}
    other: dict[str, FactValue] = {"option.engine.command": ["trtllm-bench", "srun"]}
    assert changed(one, other, {}) == ["option.engine.command: [srun, trtllm-bench] -> [trtllm-bench, srun]"]


def test_many_sentences_in_brief() -> None:
    assert in_brief(["a", "b", "c"]) == "a; b; c"
    assert in_brief(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"


def test_facts_of_any_ring_that_are_unlike_in_one_of_several() -> None:
    near: dict[str, FactValue] = {**FACTS, "gpu.power_limit_w": 699.998}
    other: dict[str, FactValue] = {
        **near,
        "hostname": "b",
        "gpu.uuids": ["GPU-x"],
        "a.new": 1,
        "driver": None,
    }
    assert unlike([FACTS]) == unlike([FACTS, near]) == []
    assert unlike([FACTS, near, other]) == ["a.new", "driver", "gpu.uuids", "hostname"]
    assert unlike([near, near, FACTS, other]) == ["a.new", "driver", "gpu.uuids", "hostname"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "none"),
        (["a", "b"], "[a, b]"),
        (0.1 + 0.2, "0.3"),
        (True, "True"),
        ("ab" * 32, "abababababab..."),
        ("ab" * 8, "ab" * 8),
    ],
)
def test_a_value_as_a_person_reads_it(value: FactValue, expected: str) -> None:
    assert shown(value) == expected


def test_secrets_are_not_compared_and_never_shown() -> None:
    """Old references have them in the clear, and what is saved now has the name of a variable."""
    old: Facts = {
        "option.engine.environment.HF_TOKEN": "planted",
        "option.engine.environment.MODE": "a",
        "option.engine.arguments": ["--api-key", "planted"],
    }
    new: Facts = {
        "option.engine.environment.HF_TOKEN": "${HF_TOKEN}",
        "option.engine.environment.MODE": "b",
        "option.engine.arguments": ["--api-key", "${API_KEY}"],
    }
    assert changed(old, new, {}) == ["option.engine.environment.MODE: a -> b"]
    assert changed(old, {**new, "option.engine.arguments": ["--x"]}, {})[0] == (
        "option.engine.arguments: [--api-key, ${API_KEY}] -> [--x]"
    )


def test_the_content_of_a_named_file_is_under_test() -> None:
    """Two contents are never one set of references, and a gate names what changed."""
    old: Facts = {"file.opts.yml.moe_config.backend": "CUTLASS"}
    new: Facts = {"file.opts.yml.moe_config.backend": "TRTLLM"}
    assert changed(old, new, {}) == ["file.opts.yml.moe_config.backend: CUTLASS -> TRTLLM"]
    assert changed(old, new, EVERYTHING)
    assert differences(old, new, {"file.*": False}) == [
        "file.opts.yml.moe_config.backend: CUTLASS in the references, TRTLLM here"
    ]


def test_the_names_of_nodes_are_shown_only() -> None:
    """Slurm gives a job other nodes each time; their GPUs are compared."""
    before, after = {"nodes": ["n1", "n2"], "gpu.uuids": ["a"]}, {"nodes": ["n3", "n4"], "gpu.uuids": ["a"]}
    assert comparability.role("nodes", {}) == "shown"
    for each in ("fixed", "under test"):
        assert list(comparability.unequal(each, before, after, {})) == []
