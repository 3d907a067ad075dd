# ruff: noqa: E501  (messages stand whole)
"""The points of a sweep: what they are, how they are called, and every mistake that can be made."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import sweep
from pytest_dsr1.scenario.loading import LoadedScenario, load, load_all
from pytest_dsr1.scenario.profiles import discover
from tests.helpers.scenario_files import GOOD, changed

LINE = GOOD.count("\n") + 1
"""The first line after the valid file."""
MORE = GOOD.count("\n") + 2
PLAIN = changed(("    enable_attention_dp: true\n", ""), ("  ep: 8\n", ""))
"""The valid file without a rule about the concurrency or the expert parallelism."""
SWEEP = f"{PLAIN}sweep: {{load.concurrency: [1, 4]}}\n"
FRONTIER = "frontier:\n- {{metric: {metric}, at: 5, value: 5, of: {of}}}\n"
NOT_SWEPT = (
    "cannot be swept; expected `hardware.count`, or a dotted key of dataset, engine, gpu_setup, load or "
    "speculation, such as load.concurrency"
)
SHAPE = "expected a mapping of keys to lists of values, or a list of points, found"
OPTION = "expected KEY=VALUE,VALUE with a dotted key, such as load.concurrency=1,4,16"
SWEPT_ALREADY = "the scenario is a sweep already; add --dsr1-set sweep=null to sweep something else"
IS_SWEPT = "is swept, so one value of it cannot be set; select points with -k instead"
REQUESTS = "expected a whole number of at least 1, or text such as `5 x load.concurrency`, found"
NAME = "expected text of the form `^[A-Za-z0-9][A-Za-z0-9._-]*$`"
CONCURRENCY = "expected a whole number of at least 1, or 'all', found"


def points(
    folder: Path,
    text: str,
    *overrides: str,
    swept: Sequence[str] = (),
    most_points: int = sweep.MOST_POINTS,
) -> list[LoadedScenario]:
    """Save the text as ``s.yaml`` and load its points."""
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load_all(path, overrides=overrides, swept=swept, most_points=most_points)


def labels(found: Sequence[LoadedScenario]) -> list[str]:
    return [each.scenario.point.label for each in found if each.scenario.point]


def mistakes(folder: Path, text: str, *overrides: str, **options: Any) -> list[str]:
    """Return the lines of the one message about this text, without the header and the folder."""
    with pytest.raises(UserError) as caught:
        points(folder, text, *overrides, **options)
    header, *lines = str(caught.value).splitlines()
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert header == f"{folder / 's.yaml'}: {count} in this scenario"
    return [line.strip().replace(f"{folder}/", "") for line in lines]


def test_a_product_of_two_keys_in_the_order_of_fewest_starts(tmp_path: Path) -> None:
    text = f"{PLAIN}sweep:\n  load.concurrency: [1, 4]\n  engine.tp: [8, 4]\n"
    found = points(tmp_path, text)
    assert labels(found) == [
        "concurrency-1.tp-8",
        "concurrency-4.tp-8",
        "concurrency-1.tp-4",
        "concurrency-4.tp-4",
    ]
    assert [each.scenario.name for each in found] == [f"mine.{label}" for label in labels(found)]
    assert [(each.scenario.load.concurrency, each.scenario.engine.model_dump()["tp"]) for each in found] == [
        (1, 8),
        (4, 8),
        (1, 4),
        (4, 4),
    ]
    first = found[0].scenario
    assert first.sweep is None
    assert first.point is not None
    assert first.point.sweep == "mine"
    assert first.point.values == {"load.concurrency": 1, "engine.tp": 8}
    assert {each.path for each in found} == {tmp_path / "s.yaml"}


def test_a_list_of_points_keeps_its_order_but_for_starts(tmp_path: Path) -> None:
    text = f"""{PLAIN}sweep:
  - {{load.concurrency: 16, engine.tp: 4, engine.max_batch_size: 64}}
  - {{load.concurrency: 1}}
  - {{engine.max_batch_size: 64, engine.tp: 4, load.concurrency: 2}}
  - {{dataset.input_tokens: 512}}
"""
    assert labels(points(tmp_path, text)) == [
        "concurrency-16.tp-4.max_batch_size-64",
        "max_batch_size-64.tp-4.concurrency-2",
        "concurrency-1",
        "input_tokens-512",
    ]


def test_a_point_may_have_a_label_of_its_own(tmp_path: Path) -> None:
    text = f"""{PLAIN}sweep:
  - {{label: few, load.concurrency: 1}}
  - {{load.concurrency: 2}}
  - {{load.concurrency: 4, label: concurrency-2}}
"""
    found = points(tmp_path, text)
    assert labels(found) == ["few", "concurrency-2-2", "concurrency-2"]
    assert [each.scenario.name for each in found] == [f"mine.{label}" for label in labels(found)]
    assert [each.scenario.point.values for each in found if each.scenario.point] == [
        {"load.concurrency": users} for users in (1, 2, 4)
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("16", "the number 16"),
        ("", "nothing"),
        ("a/b", "the text 'a/b'"),
        ("-a", "the text '-a'"),
        ('"a\\n"', "the text 'a\\n'"),
        ("search-4", "the text 'search-4'"),
        ("x" * 61, f"the text '{'x' * 57}...'"),
    ],
)
def test_a_label_that_is_no_name_of_a_point(tmp_path: Path, given: str, shown: str) -> None:
    assert mistakes(tmp_path, f"{GOOD}sweep:\n  - {{load.concurrency: 1, label: {given}}}\n") == [
        f"s.yaml:{MORE}:34: sweep.0.label: expected text of the form "
        f"`^[A-Za-z0-9][A-Za-z0-9._-]{{0,59}}$` that does not begin with `search-`, found {shown}"
    ]


def test_a_label_names_one_point(tmp_path: Path) -> None:
    rows = "".join(f"  - {{label: a, load.concurrency: {users}}}\n" for users in (1, 4))
    assert mistakes(tmp_path, f"{GOOD}sweep:\n{rows}") == [
        f"s.yaml:{MORE + 1}:13: sweep.1.label: the label a is there twice"
    ]
    assert mistakes(tmp_path, f"{GOOD}sweep:\n  - {{label: a}}\n") == [
        f"s.yaml:{MORE}:5: sweep.0: expected a mapping of keys to values, found only a label"
    ]
    twice = "[{label: a, load.concurrency: 1}, {label: b, load.concurrency: 1}]"
    assert mistakes(tmp_path, f"{GOOD}sweep: {twice}\n") == [
        f"s.yaml:{LINE}:71: sweep: the point b is there twice"
    ]


def test_only_a_listed_point_has_a_label(tmp_path: Path) -> None:
    assert mistakes(tmp_path, f"{GOOD}sweep: {{label: [a]}}\n") == [
        f"s.yaml:{LINE}:9: sweep.label: {NOT_SWEPT}"
    ]


def test_without_a_sweep_there_is_the_scenario_itself(tmp_path: Path) -> None:
    (found,) = points(tmp_path, GOOD)
    assert (found.scenario.name, found.scenario.point, found.scenario.dataset.seed) == ("mine", None, 420)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ("[]", [f"{LINE}:8: sweep: {SHAPE} an empty list"]),
        ("{}", [f"{LINE}:8: sweep: {SHAPE} an empty mapping"]),
        ("5", [f"{LINE}:8: sweep: {SHAPE} the number 5"]),
        ("load.concurrency", [f"{LINE}:8: sweep: {SHAPE} a text"]),
        ("true", [f"{LINE}:8: sweep: {SHAPE} true"]),
        (
            "",
            [
                f"{LINE}:7: sweep: expected a mapping of keys to lists of values, or a list of mappings of "
                "keys to values, found nothing; remove the key, which does the same"
            ],
        ),
        (
            "{load.concurrency: []}",
            [f"{LINE}:27: sweep.load.concurrency: expected a list of values, found an empty list"],
        ),
        (
            "{load.concurrency: 4}",
            [f"{LINE}:27: sweep.load.concurrency: expected a list of values, found the number 4"],
        ),
        (
            "{load.concurrency: {1: 2}}",
            [f"{LINE}:27: sweep.load.concurrency: expected a list of values, found a mapping"],
        ),
        (
            "{load.concurrency: [1, 4, 1, 4.0, true]}",
            [
                f"{LINE}:34: sweep.load.concurrency: the number 1 is there twice",
                f"{LINE}:37: sweep.load.concurrency: the number 4.0 is there twice",
            ],
        ),
        (
            "{engine.llm_api.cuda_graph_config.batch_sizes: [[1, 2], [2, 1], [1, 2]]}",
            [f"{LINE}:72: sweep.engine.llm_api.cuda_graph_config.batch_sizes: a list is there twice"],
        ),
        (
            "[{engine.tp: 8, load.concurrency: 1}, {load.concurrency: 1, engine.tp: 8}]",
            [f"{LINE}:65: sweep: the point concurrency-1.tp-8 is there twice"],
        ),
        (
            "[{load.concurrency: 1}, 5, {}, [1]]",
            [
                f"{LINE}:32: sweep.1: expected a mapping of keys to values, found the number 5",
                f"{LINE}:35: sweep.2: expected a mapping of keys to values, found an empty mapping",
                f"{LINE}:39: sweep.3: expected a mapping of keys to values, found a list",
            ],
        ),
        ("{engine.type: [openai]}", [f"{LINE}:9: sweep.engine.type: {NOT_SWEPT}"]),
        ("{engine.: [1]}", [f"{LINE}:9: sweep.engine.: {NOT_SWEPT}"]),
        (
            "{engine.environment.HF_TOKEN: [hf_12345678, hf_12345678]}",
            [f"{LINE}:52: sweep.engine.environment.HF_TOKEN: a value is there twice"],
        ),
        (
            "[{load.concurrency: 1}, {load.concurrency: 4, model.name: b}, {sweep: 1}]",
            [
                f"{LINE}:54: sweep.1.model.name: {NOT_SWEPT}",
                f"{LINE}:71: sweep.2.sweep: {NOT_SWEPT}",
            ],
        ),
    ],
)
def test_a_sweep_that_cannot_be_understood(tmp_path: Path, given: str, lines: list[str]) -> None:
    assert mistakes(tmp_path, f"{GOOD}sweep: {given}\n") == [f"s.yaml:{line}" for line in lines]


@pytest.mark.parametrize(
    "key", ["model.name", "hardware.gpu", "name", "targets", "targets.0.value", "sweep", "load", "hardware"]
)
def test_what_cannot_be_swept(tmp_path: Path, key: str) -> None:
    assert mistakes(tmp_path, f"{GOOD}sweep:\n  {key}: [1, 2]\n") == [
        f"s.yaml:{MORE}:3: sweep.{key}: {NOT_SWEPT}"
    ]
    assert mistakes(tmp_path, f"{GOOD}sweep:\n  - {key}: 1\n") == [
        f"s.yaml:{MORE}:5: sweep.0.{key}: {NOT_SWEPT}"
    ]
    assert mistakes(tmp_path, GOOD, swept=[f"{key}=1,2"]) == [
        f"--dsr1-sweep {key}=1,2: sweep.{key}: {NOT_SWEPT}"
    ]


def test_all_mistakes_of_a_sweep_are_told_at_once(tmp_path: Path) -> None:
    text = f"{GOOD}sweep:\n  name: [a]\n  load.concurrency: 4\n  load.num_requests: [8, 8]\n"
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{MORE}:3: sweep.name: {NOT_SWEPT}",
        f"s.yaml:{MORE + 1}:21: sweep.load.concurrency: expected a list of values, found the number 4",
        f"s.yaml:{MORE + 2}:26: sweep.load.num_requests: the number 8 is there twice",
    ]


def test_an_unknown_key_is_told_once_and_not_once_per_point(tmp_path: Path) -> None:
    text = f"{GOOD}sweep:\n  load.concurency: [1, 4, 16]\n  engine.tpp: [1, 2]\n"
    unknown = "unknown key (did you mean"
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{MORE}:3: load.concurency: {unknown} 'concurrency', which is already there?)",
        f"s.yaml:{MORE + 1}:3: engine.tpp: {unknown} 'tp', which is already there?)",
    ]
    assert mistakes(tmp_path, GOOD, swept=["load.concurency=1,4"]) == [
        f"--dsr1-sweep load.concurency=1,4: load.concurency: {unknown} 'concurrency'?)"
    ]


def test_a_key_below_a_single_value_is_told_once(tmp_path: Path) -> None:
    text = f"{GOOD}sweep:\n  load.concurrency.x: [1, 4]\n  load.warmup: [x, y]\n"
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{MORE}:3: load.concurrency.x: `load.concurrency` is a single value and has no key 'x'"
    ]


def test_mistakes_of_all_points_are_told_at_once(tmp_path: Path) -> None:
    text = f"{PLAIN}sweep:\n  load.concurrency: [1, 0, x]\n  engine.tp: [8, -1]\n"
    line = PLAIN.count("\n") + 2
    found = mistakes(tmp_path, text)
    assert found == [
        f"s.yaml:{line}:25: load.concurrency: {CONCURRENCY} the number 0",
        f"s.yaml:{line}:28: load.concurrency: {CONCURRENCY} the text 'x'",
        f"s.yaml:{line + 1}:18: engine.tp: expected a whole number of at least 1, found the number -1",
    ]


def test_every_point_that_is_there_twice_is_told(tmp_path: Path) -> None:
    rows = "".join(f"  - {{load.concurrency: {users}}}\n" for users in (1, 1, 4, 4, 1))
    assert mistakes(tmp_path, f"{GOOD}sweep:\n{rows}") == [
        f"s.yaml:{MORE + row}:24: sweep: the point concurrency-{users} is there twice"
        for row, users in ((1, 1), (3, 4), (4, 1))
    ]


def test_points_that_are_there_twice_are_told_next_to_other_mistakes(tmp_path: Path) -> None:
    """Of points that have a mistake of their own, nobody knows whether they are the same."""
    rows = ["{load.concurrency: 1}", "{load.concurrency: 1.0}", "{}", "{name: a}", "{name: a}"]
    assert mistakes(tmp_path, "".join([f"{GOOD}sweep:\n", *(f"  - {row}\n" for row in rows)])) == [
        f"s.yaml:{MORE + 1}:24: sweep: the point concurrency-1.0 is there twice",
        f"s.yaml:{MORE + 2}:5: sweep.2: expected a mapping of keys to values, found an empty mapping",
        f"s.yaml:{MORE + 3}:6: sweep.3.name: {NOT_SWEPT}",
        f"s.yaml:{MORE + 4}:6: sweep.4.name: {NOT_SWEPT}",
    ]


def test_every_mistake_of_an_option_is_told(tmp_path: Path) -> None:
    option = "load.concurrency={a: 1, a: 2, b: 1, b: 2}"
    assert mistakes(tmp_path, GOOD, swept=[option]) == [
        f"--dsr1-sweep {option}: load.concurrency: the key '{key}' appears a second time; it is already on line 1"
        for key in ("a", "b")
    ]


def without_part(name: str) -> str:
    """Return the sweep without this part of the file."""
    lines = SWEEP.splitlines(keepends=True)
    first = lines.index(f"{name}:\n")
    after = next(n for n in range(first + 1, len(lines)) if not lines[n].startswith(" "))
    return "".join([*lines[:first], *lines[after:]])


@pytest.mark.parametrize(
    ("part", "given", "line"),
    [
        ("dataset", "", "1:1: dataset: missing; expected a mapping with `input_tokens`, `output_tokens`"),
        (
            "dataset",
            "dataset: 5\n",
            "29:10: dataset: expected a mapping with `input_tokens`, `output_tokens`, found the number 5",
        ),
        (
            "targets",
            "targets: 5\n",
            "27:10: targets: expected a list, each a mapping with `metric`, `value`, found the number 5",
        ),
    ],
)
def test_parts_that_every_point_needs(tmp_path: Path, part: str, given: str, line: str) -> None:
    assert mistakes(tmp_path, without_part(part) + given) == [f"s.yaml:{line}"]


def test_a_sweep_needs_no_targets(tmp_path: Path) -> None:
    assert [each.scenario.targets for each in points(tmp_path, without_part("targets"))] == [[], []]


def test_mistakes_elsewhere_in_the_file_are_told_once(tmp_path: Path) -> None:
    text = GOOD.replace("tp: 8", "tpp: 8").replace("count: 8", "count: x")
    found = mistakes(tmp_path, f"{text}sweep: {{load.concurrency: [512, 1024]}}\n")
    assert found == [
        "s.yaml:5:10: hardware.count: expected a whole number of at least 0, found the text 'x'",
        "s.yaml:18:3: engine.tpp: unknown key (did you mean 'tp'?)",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("name: a b\n", f"1:7: name: {NAME}, found the text 'a b'"),
        ("name: [1]\n", f"1:7: name: {NAME}, found a list"),
        (f"name: {'n' * 101}\n", f"1:7: name: {NAME}, found the text '{'n' * 57}...'"),
        ("", f"1:1: name: missing; {NAME}"),
    ],
)
def test_a_wrong_name_is_told_once(tmp_path: Path, name: str, line: str) -> None:
    curve = FRONTIER.format(metric="total_output_throughput", of="request_throughput")
    text = SWEEP.replace("name: mine\n", name, 1) + curve
    assert mistakes(tmp_path, text) == [f"s.yaml:{line}"]


def test_too_many_points_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a product is made")

    monkeypatch.setattr(itertools, "product", never)
    hundred = ", ".join(map(str, range(1, 101)))
    text = f"{GOOD}sweep:\n  load.concurrency: [{hundred}]\n  engine.max_batch_size: [{hundred}]\n"
    advice = "leave some out, or set the ini option dsr1_max_points ="
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{MORE}:3: sweep: 10,000 points, expected at most 200: {advice} 10000"
    ]
    assert mistakes(tmp_path, text, most_points=9_999) == [
        f"s.yaml:{MORE}:3: sweep: 10,000 points, expected at most 9,999: {advice} 10000"
    ]
    listed = f"{GOOD}sweep: [{{load.concurrency: 1}}, {{load.concurrency: 2}}]\n"
    assert mistakes(tmp_path, listed, most_points=1) == [
        f"s.yaml:{LINE}:8: sweep: 2 points, expected at most 1: {advice} 2"
    ]


def test_as_many_points_as_are_allowed(tmp_path: Path) -> None:
    listed = f"{GOOD}sweep: [{{load.concurrency: 1}}, {{load.concurrency: 2}}]\n"
    assert len(points(tmp_path, listed, most_points=2)) == 2


# --dsr1-sweep


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("load.concurrency", OPTION),
        ("load.concurrency=", OPTION),
        ("load.concurrency=  ", OPTION),
        ("=1,4", OPTION),
        ("load..concurrency=1", OPTION),
        ("", OPTION),
        (
            "load.concurrency=[1",
            "load.concurrency: not valid YAML: while parsing a flow sequence expected ',' or ']', but got "
            "'<stream end>'; a bracket or quote is not closed",
        ),
        (
            "load.concurrency=1,,4",
            "load.concurrency: not valid YAML: while parsing a flow node expected the node content, but "
            "found ','",
        ),
        (
            "load.concurrency=1],[2",
            "load.concurrency: not valid YAML: expected '<document start>', but found ','",
        ),
        (
            "load.concurrency={a: 1, a: 2}",
            "load.concurrency: the key 'a' appears a second time; it is already on line 1",
        ),
        ("load.concurrency=1,1", "sweep.load.concurrency: the number 1 is there twice"),
        ("load.concurrency=0", f"load.concurrency: {CONCURRENCY} the number 0"),
    ],
)
def test_an_option_that_cannot_be_understood(tmp_path: Path, option: str, line: str) -> None:
    shown = f"--dsr1-sweep {' '.join(option.split())}"
    assert mistakes(tmp_path, PLAIN, swept=[option]) == [f"{shown}: {line}"]


@pytest.mark.parametrize(
    ("option", "values", "names"),
    [
        ("load.concurrency=1,4", [1, 4], ["concurrency-1", "concurrency-4"]),
        (" load.concurrency = 1 , 4 ", [1, 4], ["concurrency-1", "concurrency-4"]),
        ("engine.streaming=true,false", [True, False], ["streaming-true", "streaming-false"]),
        ("engine.startup_timeout_s=0.5, 75", [0.5, 75], ["startup_timeout_s-0.5", "startup_timeout_s-75"]),
        ("engine.max_num_tokens=null,1151", [None, 1151], ["max_num_tokens-null", "max_num_tokens-1151"]),
        ('engine.environment.A="a b","1,2"', ["a b", "1,2"], ["A-a_b", "A-1_2"]),
    ],
)
def test_the_values_of_an_option_are_yaml(
    tmp_path: Path, option: str, values: list[object], names: list[str]
) -> None:
    found = points(tmp_path, PLAIN, swept=[option])
    assert [list(each.scenario.point.values.values()) for each in found if each.scenario.point] == [
        [value] for value in values
    ]
    assert labels(found) == names


def test_several_options_are_a_product(tmp_path: Path) -> None:
    found = points(tmp_path, PLAIN, swept=["engine.tp=4,8", "load.concurrency=1,4"])
    assert labels(found) == [f"tp-{tp}.concurrency-{users}" for tp in (4, 8) for users in (1, 4)]


def test_a_key_that_is_swept_twice(tmp_path: Path) -> None:
    options = ["load.concurrency=1", "load.concurrency=4", "nothing"]
    assert mistakes(tmp_path, GOOD, swept=options) == [
        "--dsr1-sweep load.concurrency=4: load.concurrency: is swept already; give all its values in one "
        "--dsr1-sweep",
        f"--dsr1-sweep nothing: {OPTION}",
    ]


def test_a_secret_in_an_option_is_not_shown(tmp_path: Path) -> None:
    option = "engine.environment.HF_TOKEN=hf_12345678,hf_87654321"
    assert mistakes(tmp_path, SWEEP, swept=[option]) == [
        "--dsr1-sweep engine.environment.HF_TOKEN=${HF_TOKEN}: engine.environment.HF_TOKEN: the scenario is a sweep already; add --dsr1-set sweep=null to sweep something else"
    ]
    found = points(tmp_path, PLAIN, swept=[option])
    assert labels(found) == ["HF_TOKEN-hidden", "HF_TOKEN-hidden-2"]
    assert [each.scenario.point.values for each in found if each.scenario.point] == [
        {"engine.environment.HF_TOKEN": "(not shown)"}
    ] * 2


@pytest.mark.parametrize("override", [(), ("sweep=[{load.concurrency: 1}]",)])
def test_a_sweep_of_a_sweep(tmp_path: Path, override: tuple[str, ...]) -> None:
    text = PLAIN if override else SWEEP
    assert mistakes(tmp_path, text, *override, swept=["engine.tp=4,8"]) == [
        f"--dsr1-sweep engine.tp=4,8: engine.tp: {SWEPT_ALREADY}"
    ]


def test_another_sweep_instead_of_that_of_the_file(tmp_path: Path) -> None:
    assert labels(points(tmp_path, SWEEP, "sweep=null", swept=["engine.tp=4,8"])) == ["tp-4", "tp-8"]
    (alone,) = points(tmp_path, SWEEP, "sweep=null")
    assert (alone.scenario.name, alone.scenario.load.concurrency) == ("mine", 1024)
    assert labels(points(tmp_path, SWEEP, "sweep=null", "sweep={load.concurrency: [2]}")) == ["concurrency-2"]


def test_a_swept_key_cannot_be_set(tmp_path: Path) -> None:
    assert mistakes(tmp_path, SWEEP, "load.concurrency=4") == [
        f"--dsr1-set load.concurrency=4: load.concurrency: {IS_SWEPT}"
    ]
    assert mistakes(tmp_path, PLAIN, "load={concurrency: 4}", swept=["load.concurrency=1"])[0] == (
        f"--dsr1-set load={{concurrency: 4}}: load.concurrency: {IS_SWEPT}"
    )
    lengths = f"{PLAIN}sweep: {{dataset.input_tokens: [1, 4]}}\n".replace(
        "1024\n  output", "{mean: 9}\n  output"
    )
    assert mistakes(tmp_path, lengths, "dataset.input_tokens.mean=4") == [
        f"--dsr1-set dataset.input_tokens.mean=4: dataset.input_tokens: {IS_SWEPT}"
    ]
    assert len(points(tmp_path, SWEEP, "load.num_requests=8")) == 2


# The values of points


def test_one_scenario_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SWEEP, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: is a sweep of 2 points, expected one scenario; set sweep=null, and a value for each swept key"
    )
    assert load(path, overrides=["sweep=null"]).scenario.name == "mine"


def test_point_is_not_for_users(tmp_path: Path) -> None:
    text = f"{GOOD}point: {{sweep: a, label: b, values: {{}}}}\n"
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{LINE}:8: point: is written by pytest-dsr1 into results; remove it"
    ]
    (saved,) = load_all(tmp_path / "s.yaml", saved=True)
    assert saved.scenario.point is not None


def requests(count: str) -> str:
    return PLAIN.replace("num_requests: 5120", f"num_requests: {count}")


def test_requests_follow_the_concurrency(tmp_path: Path) -> None:
    text = requests("5 x load.concurrency")
    found = points(tmp_path, f"{text}sweep: {{load.concurrency: [1, 4, 16]}}\n")
    assert [each.scenario.load.num_requests for each in found] == [5, 20, 80]
    (alone,) = points(tmp_path, text)
    assert alone.scenario.load.num_requests == 5120
    (option,) = points(tmp_path, PLAIN, "load.num_requests=3 x load.concurrency")
    assert option.scenario.load.num_requests == 3072


@pytest.mark.parametrize(
    ("count", "users", "lines"),
    [
        (
            "5 x load.concurrency",
            "all",
            [
                "15:17: load.num_requests: follows load.concurrency, which is 'all'; expected a whole number "
                "of at least 1"
            ],
        ),
        ("5 x load.concurrency", "0", [f"14:16: load.concurrency: {CONCURRENCY} the number 0"]),
        ("5 x load.concurrency", "true", [f"14:16: load.concurrency: {CONCURRENCY} true"]),
        (
            "5x load.concurrency",
            "4",
            [f"15:17: load.num_requests: {REQUESTS} the text '5x load.concurrency'"],
        ),
        (
            "0 x load.concurrency",
            "4",
            [f"15:17: load.num_requests: {REQUESTS} the text '0 x load.concurrency'"],
        ),
        (
            "5 x load.rate",
            "all",
            [f"15:17: load.num_requests: {REQUESTS} the text '5 x load.rate'"],
        ),
        ("-5", "4", [f"15:17: load.num_requests: {REQUESTS} the number -5"]),
    ],
)
def test_requests_that_follow_nothing(tmp_path: Path, count: str, users: str, lines: list[str]) -> None:
    text = requests(count).replace("  concurrency: 1024", f"  concurrency: {users}")
    assert mistakes(tmp_path, text) == [f"s.yaml:{line}" for line in lines]


def test_requests_that_follow_a_missing_concurrency(tmp_path: Path) -> None:
    text = requests("5 x load.concurrency").replace("  concurrency: 1024\n", "")
    assert mistakes(tmp_path, text) == [f"s.yaml:14:3: load.concurrency: missing; {CONCURRENCY[:-7]}"]


def counts(found: Sequence[LoadedScenario]) -> list[int]:
    return [each.scenario.hardware.count for each in found]


def test_the_gpus_follow_the_parallel_sizes(tmp_path: Path) -> None:
    text = f"{PLAIN}sweep:\n  engine.tp: [8, 4, 2]\n  engine.pp: [1]\n"
    found = points(tmp_path, text)
    assert counts(found) == [8, 4, 2]
    idle = "s.yaml:5: hardware.count: the point uses"
    assert [[line.replace(f"{tmp_path}/", "") for line in each.warnings] for each in found] == [
        [],
        [f"{idle} 4 of these GPUs; 4 stay idle"],
        [f"{idle} 2 of these GPUs; 6 stay idle"],
    ]
    pipelines = points(tmp_path, PLAIN.replace("  tp: 8", "  tp: 2"), swept=["engine.pp=2,4"])
    assert counts(pipelines) == [4, 8]


def test_more_gpus_than_the_file_names_are_no_idle_ones(tmp_path: Path) -> None:
    (found,) = points(tmp_path, f"{PLAIN}sweep: {{engine.tp: [16]}}\n")
    assert (counts([found]), found.warnings) == ([16], ())


def test_a_point_may_give_its_gpus(tmp_path: Path) -> None:
    text = f"{PLAIN}sweep: [{{engine.tp: 4, hardware.count: 4}}, {{hardware.count: 8}}]\n"
    assert counts(points(tmp_path, text)) == [4, 8]
    line = PLAIN.count("\n") + 1
    assert mistakes(tmp_path, f"{PLAIN}sweep: {{engine.tp: [4], hardware.count: [8]}}\n") == [
        f"s.yaml:{line}:9: engine.tp: expected tp x pp to be hardware.count, 8; found tp 4 x pp 1 = 4 GPUs"
    ]


def test_sizes_that_are_not_swept_change_no_gpus(tmp_path: Path) -> None:
    found = points(tmp_path, f"{PLAIN}sweep: {{load.concurrency: [1, 4]}}\n", "hardware.count=8")
    assert counts(found) == [8, 8]
    assert all(not each.warnings for each in found)


def seeds(found: Sequence[LoadedScenario]) -> list[int]:
    return [each.scenario.dataset.seed for each in found]


def test_each_point_draws_its_own_prompts(tmp_path: Path) -> None:
    assert seeds(points(tmp_path, SWEEP)) == [52207893, 33700514]
    seeded = SWEEP.replace("dataset:\n", "dataset:\n  seed: 7\n")
    assert seeds(points(tmp_path, seeded)) == [52207480, 33700101]
    assert seeds(points(tmp_path, SWEEP, "dataset.seed=30")) == [52207503, 33700124]


def test_a_point_is_the_same_in_a_longer_sweep(tmp_path: Path) -> None:
    """So it need not run again if a value is added to the sweep."""
    short = points(tmp_path, SWEEP)
    longer = points(tmp_path, SWEEP.replace("[1, 4]", "[8, 4, 2, 1]"))
    assert [longer[3].scenario, longer[1].scenario] == [each.scenario for each in short]


def test_prompts_that_are_not_drawn_anew(tmp_path: Path) -> None:
    assert seeds(points(tmp_path, f"{PLAIN}sweep: {{load.concurrency: [1]}}\n", "dataset.seed=9")) == [9]
    assert seeds(points(tmp_path, PLAIN, swept=["dataset.seed=5,3", "load.concurrency=1,4"])) == [5, 5, 3, 3]
    file = SWEEP.replace("dataset:\n", "dataset:\n  path: requests.jsonl\n")
    assert seeds(points(tmp_path, file)) == [420, 420]
    wrong = SWEEP.replace("dataset:\n", "dataset:\n  seed: true\n")
    assert mistakes(tmp_path, wrong) == ["s.yaml:11:9: dataset.seed: expected a whole number, found true"]


# Targets of points


AT = """\
  - metric: average_request_latency
    value: 100
    at: {load.concurrency: 4}
  - metric: average_request_latency
    value: 50
    at: {load.concurrency: 1.0, engine.tp: 8}
"""


def test_targets_of_some_points(tmp_path: Path) -> None:
    text = f"{PLAIN}{AT}sweep: {{load.concurrency: [1, 4], engine.tp: [8, 4]}}\n"
    found = points(tmp_path, text)
    latency = {
        each.scenario.point.label: [t.value for t in each.scenario.targets[2:]]
        for each in found
        if each.scenario.point
    }
    assert latency == {
        "concurrency-1.tp-8": [50],
        "concurrency-4.tp-8": [100],
        "concurrency-1.tp-4": [],
        "concurrency-4.tp-4": [100],
    }
    assert all(target.at is None for each in found for target in each.scenario.targets)
    assert [found[0].where("targets.2"), found[1].where("targets.2")] == [
        f"{tmp_path / 's.yaml'}:{LINE - 2 + 3}",
        f"{tmp_path / 's.yaml'}:{LINE - 2}",
    ]


@pytest.mark.parametrize(
    ("at", "line"),
    [
        ("5", "34:9: targets.1.at: expected a mapping of swept keys to values, found the number 5"),
        ("{}", "34:9: targets.1.at: expected a mapping of swept keys to values, found an empty mapping"),
        (
            "[load.concurrency]",
            "34:9: targets.1.at: expected a mapping of swept keys to values, found a list",
        ),
        (
            "{load.concurrency: 64}",
            "34:9: targets.1.at: matches no point of the sweep; its points are concurrency-1, concurrency-2, "
            "concurrency-3, concurrency-4, concurrency-5 and 2 more",
        ),
        (
            "{load.concurrency: '1'}",
            "34:9: targets.1.at: matches no point of the sweep; its points are concurrency-1, concurrency-2, "
            "concurrency-3, concurrency-4, concurrency-5 and 2 more",
        ),
        (
            "{concurrency: 1}",
            "34:9: targets.1.at: matches no point of the sweep; its points are concurrency-1, concurrency-2, "
            "concurrency-3, concurrency-4, concurrency-5 and 2 more; concurrency is not swept (did you mean 'load.concurrency'?)",
        ),
    ],
)
def test_targets_of_no_point(tmp_path: Path, at: str, line: str) -> None:
    text = GOOD + f"    at: {at}\nsweep: {{load.concurrency: [1, 2, 3, 4, 5, 6, 7]}}\n"
    found = mistakes(tmp_path, text)
    assert found == [f"s.yaml:{line.replace('34', str(LINE), 1)}"]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("load.concurency", "; load.concurency is not swept (did you mean 'load.concurrency'?)"),
        ("load.concurrency_", "; load.concurrency_ is not swept (did you mean 'load.concurrency'?)"),
        ("engine.tp", ""),
    ],
)
def test_a_key_that_is_nearly_swept(tmp_path: Path, key: str, meant: str) -> None:
    text = GOOD + f"    at: {{{key}: 1}}\nsweep: {{load.concurrency: [1, 2]}}\n"
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{LINE}:9: targets.1.at: matches no point of the sweep; its points are concurrency-1, "
        f"concurrency-2{meant}"
    ]


def test_targets_of_points_without_a_sweep(tmp_path: Path) -> None:
    assert mistakes(tmp_path, GOOD + "    at: {load.concurrency: 1}\n") == [
        f"s.yaml:{LINE}:9: targets.1.at: chooses points of a sweep, but the scenario has no `sweep`"
    ]


def test_a_message_names_few_points(tmp_path: Path) -> None:
    text = GOOD + "    at: {load.rate: 1}\nsweep: {load.concurrency: [1, 2, 3, 4, 5]}\n"
    assert mistakes(tmp_path, text) == [
        f"s.yaml:{LINE}:9: targets.1.at: matches no point of the sweep; its points are concurrency-1, "
        "concurrency-2, concurrency-3, concurrency-4, concurrency-5"
    ]


def test_two_targets_on_one_metric_of_one_point(tmp_path: Path) -> None:
    text = f"{PLAIN}{AT}sweep: {{load.concurrency: [4]}}\n".replace(
        "{load.concurrency: 1.0, engine.tp: 8}", "{load.concurrency: 4}"
    )
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(f"s.yaml:{LINE - 2 + 3}:5: targets.3.metric: ")


# Frontier


def test_a_curve_needs_a_sweep(tmp_path: Path) -> None:
    curve = FRONTIER.format(metric="total_output_throughput", of="request_throughput")
    assert mistakes(tmp_path, GOOD + curve) == [
        f"s.yaml:{LINE}:1: frontier: is the curve of several points; expected `sweep`, found none"
    ]
    text = SWEEP + curve
    assert all(len(each.scenario.frontier) == 1 for each in points(tmp_path, text))


def test_a_curve_has_two_metrics(tmp_path: Path) -> None:
    curve = FRONTIER.format(metric="request_throughput", of="request_throughput")
    line = SWEEP.count("\n") + 2
    assert mistakes(tmp_path, SWEEP + curve) == [
        f"s.yaml:{line}:4: frontier.0.metric: expected a different metric, found request_throughput for `of` "
        "and `metric`"
    ]


def test_a_curve_is_judged_once_in_a_place(tmp_path: Path) -> None:
    one = "- {metric: total_output_throughput, of: request_throughput, at: 5, value: "
    curve = f"frontier:\n{one}5}}\n{one}6}}\n{one.replace('at: 5', 'at: 6')}5}}\n"
    line = SWEEP.count("\n") + 3
    assert mistakes(tmp_path, SWEEP + curve) == [
        f"s.yaml:{line}:3: frontier.1: total_output_throughput is judged there already, by frontier.0"
    ]


# Labels and names


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "{engine.llm_api.cuda_graph_config.batch_sizes: [[1, 128], null]}",
            ["batch_sizes-1_128", "batch_sizes-null"],
        ),
        ("{engine.environment.A: ['', ' ', '/', 'é']}", ["A-none", "A-none-2", "A-none-3", "A-none-4"]),
        ("{engine.environment.A: [/models/a, models a]}", ["A-models_a", "A-models_a-2"]),
        (f"{{engine.environment.A: ['{'x' * 99}']}}", [f"A-{'x' * 40}"]),
        ("{engine.llm_api.unchecked.a/b c: [1]}", ["a_b_c-1"]),
        ("{engine.environment.tp: ['1'], engine.tp: [8]}", ["engine.environment.tp-1.engine.tp-8"]),
        (
            "{engine.environment: [{A: b/c}, {HF_TOKEN: hf_12345678}]}",
            ["environment-A_b_c", "environment-hidden"],
        ),
        ("{hardware.count: [8]}", ["count-8"]),
        ("{engine.streaming: [true, false]}", ["streaming-true", "streaming-false"]),
    ],
)
def test_labels(tmp_path: Path, given: str, expected: list[str]) -> None:
    text = f"{PLAIN}sweep: {given}\n"
    found = points(tmp_path, text)
    assert labels(found) == expected
    assert [each.scenario.name for each in found] == [f"mine.{label}" for label in expected]


def test_a_secret_stands_in_no_point(tmp_path: Path) -> None:
    text = f"{PLAIN}sweep: {{engine.environment: [{{HF_TOKEN: hf_12345678}}]}}\n"
    (found,) = points(tmp_path, text)
    assert found.scenario.point is not None
    assert found.scenario.point.values == {"engine.environment": {"HF_TOKEN": "(not shown)"}}


def test_a_name_that_would_be_too_long_ends_with_a_digest(tmp_path: Path) -> None:
    def named(length: int) -> str:
        return SWEEP.replace("name: mine", f"name: {'n' * length}")

    def names(length: int) -> list[str]:
        return [each.scenario.name for each in points(tmp_path, named(length))]

    assert names(86) == [f"{'n' * 86}.concurrency-{users}" for users in (1, 4)]
    assert names(87) == [f"{'n' * 87}.{digest}" for digest in ("8c33d671", "fc5922fe")][::1]
    assert names(91)[0] == f"{'n' * 91}.8c33d671"
    assert mistakes(tmp_path, named(92)) == [
        "s.yaml:1:7: name: expected at most 91 characters for a sweep, whose points have longer names, found 92"
    ]


# Published results


PUBLISHED = """\
published:
- version: a paper
  values: {total_output_throughput: 5}
"""


def test_published_results_say_what_differs_at_each_point(tmp_path: Path) -> None:
    base = PLAIN.replace("num_requests: 5120", "num_requests: 5 x load.concurrency")
    text = f"{base}{PUBLISHED}sweep: {{load.concurrency: [1024, 4], engine.tp: [8, 4]}}\n"
    found = points(tmp_path, text)
    changes = {
        each.scenario.point.label: each.scenario.published[0].changed for each in found if each.scenario.point
    }
    assert changes == {
        "concurrency-1024.tp-8": None,
        "concurrency-4.tp-8": ["load.concurrency"],
        "concurrency-1024.tp-4": ["engine.tp"],
        "concurrency-4.tp-4": ["engine.tp", "load.concurrency"],
    }


# Extended sweeps


def extended(folder: Path, text: str) -> list[LoadedScenario]:
    base = folder / "base.yaml"
    base.write_text(SWEEP, encoding="utf-8")
    path = folder / "s.yaml"
    path.write_text(f"extends: base.yaml\nname: other\n{text}", encoding="utf-8")
    return load_all(path, catalogue=discover([]))


def test_a_scenario_that_extends_a_sweep(tmp_path: Path) -> None:
    assert labels(extended(tmp_path, "")) == ["concurrency-1", "concurrency-4"]
    assert [each.scenario.name for each in extended(tmp_path, "")] == [
        "other.concurrency-1",
        "other.concurrency-4",
    ]
    both = extended(tmp_path, "sweep: {engine.tp: [4, 8], load.concurrency: [2]}\n")
    assert labels(both) == ["concurrency-2.tp-4", "concurrency-2.tp-8"]
    assert labels(extended(tmp_path, "sweep: [{load.concurrency: 9}]\n")) == ["concurrency-9"]
    (alone,) = extended(tmp_path, "sweep: null\n")
    assert (alone.scenario.name, alone.scenario.point) == ("other", None)


# Any sweep


VALUES = {
    "load.concurrency": st.integers(-1, 4) | st.sampled_from(["all", "x", None, True, 1.5]),
    "load.num_requests": st.sampled_from([8, 16, "2 x load.concurrency", None]),
    "engine.tp": st.integers(0, 2) | st.booleans(),
    "engine.environment.A": st.text("a/é .", max_size=3)
    | st.booleans()
    | st.lists(st.integers(0, 1), max_size=1),
    "engine.nothing": st.integers(0, 2),
    "dataset.seed": st.integers(0, 2),
    "load.concurrency.x": st.just(1),
    "hardware.count": st.integers(0, 2),
    "model.name": st.just("a"),
}


def different(values: list[Any]) -> list[Any]:
    return [value for n, value in enumerate(values) if not any(_equal(value, other) for other in values[:n])]


def _equal(left: object, right: object) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and left == right


@st.composite
def products(draw: st.DrawFn) -> dict[str, list[Any]]:
    keys = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    return {key: different(draw(st.lists(VALUES[key], min_size=1, max_size=3))) for key in keys}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(products())
@example({"load.concurrency": [1, 2], "engine.environment.A": ["a", "/a"], "dataset.seed": [0, 2]})
@example({"engine.tp": [1, 2], "load.num_requests": [8, "2 x load.concurrency"]})
def test_any_sweep_is_its_product_or_an_error(place: Path, given: dict[str, list[Any]]) -> None:
    text = f"{PLAIN}sweep: {yaml.safe_dump(given, default_flow_style=True, width=10_000)}"
    found, said = _tried(place, text)
    if said:
        messages = {message for _, message in said}
        # A broken sweep, or a value that cannot be set, hides mistakes in the values of its points.
        if not any("cannot be swept" in each or "has no key" in each for each in messages):
            assert _wrong_alone(place, given) <= messages
        return
    wanted = [dict(zip(given, row, strict=True)) for row in itertools.product(*given.values())]
    made = [each.scenario.point.values for each in found if each.scenario.point]
    assert len(made) == len(wanted)
    assert all(any(_same(one, other) for other in wanted) for one in made)
    assert len({each.scenario.name for each in found}) == len(found)
    assert all(len(each.scenario.name) <= 100 for each in found)
    # A server that serves several points is never started twice.
    starts = [
        {key: value for key, value in each.items() if not key.startswith(("load.", "dataset."))}
        for each in made
    ]
    runs = [key for key, _ in itertools.groupby(starts)]
    assert len(runs) == len([one for n, one in enumerate(runs) if not any(_same(one, o) for o in runs[:n])])


def _tried(place: Path, text: str) -> tuple[list[LoadedScenario], list[tuple[str, str]]]:
    """Return the points, or the position and the text of each mistake."""
    try:
        return points(place, text), []
    except UserError as error:
        _, *lines = str(error).splitlines()
    split = [line.removeprefix(f"  {place / 's.yaml'}:").partition(": ") for line in lines]
    return [], [(position, message) for position, _, message in split]


def _wrong_alone(place: Path, given: dict[str, list[Any]]) -> set[str]:
    """Return the mistakes of each value alone, but for those that depend on other values."""
    alone = [{key: [value]} for key, values in given.items() for value in values]
    texts = (f"{PLAIN}sweep: {yaml.safe_dump(each, default_flow_style=True)}" for each in alone)
    return {message for text in texts for _, message in _tried(place, text)[1] if "tp x pp" not in message}


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)


# Secrets

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("lines", "swept"),
    [
        (f"sweep: {{engine.environment.HF_TOKEN: {SECRET}}}\n", ()),
        (f"sweep: HF_TOKEN={SECRET}\n", ()),
        (f"sweep: [HF_TOKEN, {SECRET}]\n", ()),
        (f'sweep: {{"engine.environment.HF_TOKEN={SECRET}": [1]}}\n', ()),
        (f"sweep: {{engine.environment.HF_TOKEN: [{SECRET}, {SECRET}]}}\n", ()),
        ("", (f"engine.environment.HF_TOKEN:{SECRET}",)),
        ("", (f"engine.environment.HF_TOKEN {SECRET}",)),
        ("", (f"engine.environment.HF_TOKEN=[{SECRET}",)),
    ],
)
def test_a_mistake_shows_no_secret(tmp_path: Path, lines: str, swept: tuple[str, ...]) -> None:
    found = mistakes(tmp_path, PLAIN + lines, swept=swept)
    assert found
    assert not any(SECRET in line for line in found)


def test_a_scenario_without_its_points(tmp_path: Path) -> None:
    """As the commands of a plan run it: what is for a curve or for some points is left out."""
    text = SWEEP + (
        "frontier: [{at: 50, value: 100}]\n"
        "published:\n- {version: V1, at: {load.concurrency: 4}, values: {total_output_throughput: 5}}\n"
    )
    (found,) = points(tmp_path, text, "sweep=null", "load.concurrency=4")
    assert found.scenario.name == "mine"
    assert (found.scenario.point, found.scenario.frontier, found.scenario.published) == (None, [], [])
    assert found.scenario.load.concurrency == 4


def test_a_negative_number_keeps_its_sign_and_an_option_loses_its_dashes(tmp_path: Path) -> None:
    found = points(tmp_path, PLAIN, swept=["dataset.seed=-1,1,-2"])
    assert [each.scenario.name for each in found] == ["mine.seed--1", "mine.seed-1", "mine.seed--2"]
    environment = points(tmp_path, PLAIN, swept=["engine.environment.FLAGS=--fast,-x"])
    assert [each.scenario.name for each in environment] == ["mine.FLAGS-fast", "mine.FLAGS-x"]
