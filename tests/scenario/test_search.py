# ruff: noqa: E501  (messages stand whole)
"""The range of a search and its probes: every mistake that can be made, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dsr1.scenario.loading import load, load_all
from pytest_dsr1.scenario.rules import general
from pytest_dsr1.scenario.schema.json_schema import scenario_schema
from pytest_dsr1.scenario.schema.rule import Relation
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.search import probe_of
from pytest_dsr1.scenario.writer import dump
from tests.helpers.scenario_files import GOOD, load_text, mistakes

TEXT = """\
name: mine
description: A scenario of the tests
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1}
dataset: {input_tokens: 8, output_tokens: 4}
load: {concurrency: 2, num_requests: 8}
engine: {type: openai, command: [serve]}
"""
SEARCH = "search: {load.concurrency: [1, 2048], slo: mlperf-server}\n"
LINE = TEXT.count("\n") + 1
RATE = TEXT.replace("num_requests: 8", "num_requests: 8, arrival: {type: poisson, rate_req_s: 2}")


def test_the_defaults(tmp_path: Path) -> None:
    search = load_text(tmp_path, TEXT + SEARCH).scenario.search
    assert search is not None
    assert (search.ends, search.key, search.metric, search.whole) == (
        (1, 2048),
        "load.concurrency",
        "highest_concurrency",
        True,
    )
    assert (search.goal, search.width_percent, search.most_requests, search.at_least) == (
        0.99,
        5,
        100_000,
        None,
    )
    rate = load_text(
        tmp_path, f"{RATE}search: {{load: {{rate: [0.5, 64]}}, slo: mlperf-server}}\n"
    ).scenario.search
    assert rate is not None
    assert (rate.ends, rate.key, rate.metric, rate.whole) == ((0.5, 64), "load.rate", "highest_rate", False)


def test_both_ways_to_write_a_range_can_be_changed(tmp_path: Path) -> None:
    for text in (SEARCH, "search: {load: {concurrency: [1, 2048]}, slo: mlperf-server}\n"):
        found = load_text(tmp_path, TEXT + text, "search.load.concurrency=[2, 9]").scenario.search
        assert found is not None
        assert found.ends == (2, 9)
    base = tmp_path / "base.yaml"
    base.write_text(TEXT + SEARCH, encoding="utf-8")
    found = load_text(
        tmp_path, "extends: ./base.yaml\nname: other\nsearch: {load.concurrency: [3, 9]}\n"
    ).scenario.search
    assert found is not None
    assert (found.ends, found.slo) == ((3, 9), "mlperf-server")
    assert load_text(tmp_path, TEXT + SEARCH, "search=null").scenario.search is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "load.concurrency: [64, 1], slo: mlperf-server",
            ":10: search.load.concurrency: expected the lowest and the highest load, such as [1, 2048], found [64, 1]",
        ),
        (
            "load.concurrency: [], slo: mlperf-server",
            ":10: search.load.concurrency: expected the lowest and the highest load, such as [1, 2048], found []",
        ),
        (
            "load.concurrency: [4, 4], slo: mlperf-server",
            ":10: search.load.concurrency: expected the lowest and the highest load, such as [1, 2048], found [4, 4]",
        ),
        (
            "load.concurrency: [1, 2, 3, 4, 5, 6], slo: mlperf-server",
            ":10: search.load.concurrency: expected the lowest and the highest load, such as [1, 2048], found [1, 2, 3, 4, 5, ...]",
        ),
        (
            "load.concurrency: [1, '64'], slo: mlperf-server",
            ":32: search.load.concurrency.1: expected a whole number of at least 1, found the text '64'; remove the quotes",
        ),
        (
            "load.concurrency: 64, slo: mlperf-server",
            ":28: search.load.concurrency: expected a list, each a whole number of at least 1, found the number 64",
        ),
        (
            "load.concurrency: [1, 2.5], slo: mlperf-server",
            ":32: search.load.concurrency.1: expected a whole number of at least 1, found the number 2.5",
        ),
        (
            "load.concurrency: [1, 64]",
            ":1: search: needs limits: expected `slo` with mlperf-server or mlperf-interactive, or the scenario's `slo`",
        ),
        (
            "load.concurrency: [1, 64], slo: fast",
            ":42: search.slo: expected one of 'mlperf-server', 'mlperf-interactive', found the text 'fast'",
        ),
        (
            "load.concurrency: [1, 64], slo: mlperf-server, at_least: 65",
            ":57: search.at_least: expected a load of the range, 1 to 64, found 65",
        ),
        (
            "load.concurrency: [1, 64], slo: mlperf-server, goal: 99",
            ":63: search.goal: expected a number above 0 and below 1, found the number 99",
        ),
        (
            "load.concurrency: [1, 64], slo: mlperf-server, most_requests: 1112",
            ":57: search.most_requests: expected at least 1,113, because a probe of fewer requests cannot show that it keeps the goal 0.99, found 1,112",
        ),
        (
            "load.concurrency: [512, 1024], slo: mlperf-server, most_requests: 2000",
            ":61: search.most_requests: expected at least 2,024, because a probe of fewer requests cannot show that it keeps the goal 0.99, found 2,000",
        ),
        (
            "load.concurrency: [1, 64], slo: mlperf-server, goal: 0.99995",
            ":1: search.most_requests: expected at least 200,002, because a probe of fewer requests cannot show that it keeps the goal 0.99995, found 100,000",
        ),
    ],
)
def test_a_search_that_cannot_be_made(tmp_path: Path, given: str, message: str) -> None:
    assert mistakes(tmp_path, f"{TEXT}search: {{{given}}}\n") == [f"s.yaml:{LINE}{message}"]


def test_either_concurrency_or_rate(tmp_path: Path) -> None:
    either = "expected either `load.concurrency` or `load.rate`, found"
    both = "search: {load.concurrency: [1, 64], load.rate: [1, 64], slo: mlperf-server}\n"
    found = mistakes(tmp_path, TEXT + both)
    assert f"s.yaml:{LINE}:10: search.load: {either} both" in found
    none = mistakes(tmp_path, f"{TEXT}search: {{load: {{}}, slo: mlperf-server}}\n")
    assert none == [f"s.yaml:{LINE}:10: search.load: {either} none"]
    (missing,) = mistakes(tmp_path, f"{TEXT}search: {{slo: mlperf-server}}\n")
    assert missing.startswith(f"s.yaml:{LINE}:")
    assert "load" in missing


def test_a_range_fits_the_loop(tmp_path: Path) -> None:
    wanted = "needs `load.arrival` of the type constant, gamma or poisson, found"
    rate = "search: {load.rate: [1, 64], slo: mlperf-server}\n"
    assert mistakes(tmp_path, TEXT + rate) == [f"s.yaml:{LINE}:10: search.load.rate: {wanted} none"]
    trace = RATE.replace("{type: poisson, rate_req_s: 2}", "{type: trace, path: t.jsonl}")
    assert f"s.yaml:{LINE}:10: search.load.rate: {wanted} `trace`" in mistakes(tmp_path, trace + rate)
    assert mistakes(tmp_path, RATE + SEARCH) == [
        f"s.yaml:{LINE}:10: search.load.concurrency: is the load of a closed loop, found `load.arrival`; search load.rate"
    ]


def test_a_search_is_no_sweep(tmp_path: Path) -> None:
    text = f"{TEXT}{SEARCH}sweep: {{load.num_requests: [8, 16]}}\n"
    (found,) = mistakes(tmp_path, text)
    assert found == f"s.yaml:{LINE}:9: search: cannot be combined with `sweep`; remove one of them"
    assert load_text(tmp_path, text, "sweep=null").scenario.search is not None


def test_limits_must_be_measured(tmp_path: Path) -> None:
    silent = TEXT.replace("command: [serve]", "command: [serve], streaming: false")
    (found,) = mistakes(tmp_path, silent + SEARCH)
    assert found == f"s.yaml:{LINE}:39: search.slo: needs `engine.streaming: true`: TTFT is not measured"
    own = "search: {load.concurrency: [1, 64]}\nslo: {request_latency_ms: 1000}\n"
    assert load_text(tmp_path, silent + own).scenario.search is not None
    empty = own.replace("request_latency_ms: 1000", "")
    assert "needs limits" in mistakes(tmp_path, TEXT + empty)[0]


def test_an_engine_without_request_records(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, GOOD.replace("  tp: 8", "  streaming: true\n  tp: 8") + SEARCH)
    assert "search: needs request records, which the engine `trtllm-bench` does not keep: " in found
    assert found.endswith("set engine.request_records: true")


def test_a_probe_at_an_end_of_the_range_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario that is right at its own concurrency may not be at another one."""

    def few(scenario: Scenario) -> Iterator[tuple[str, str]]:
        if scenario.load.at_once > 1000:
            yield "load.concurrency", "is too much"

    rule = Relation(("load.concurrency",), impossible=True, rule="Few.", check=few)
    monkeypatch.setattr(general._rules, "relations", [*general._rules.relations, rule])
    assert mistakes(tmp_path, TEXT + SEARCH) == [f"s.yaml:{LINE}:10: load.concurrency: is too much"]
    assert load_text(tmp_path, TEXT + SEARCH, "search.load.concurrency=[1, 8]").scenario.search is not None


def test_a_probe_is_a_scenario_of_its_own(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, TEXT + SEARCH + "targets: [{metric: average_ttft, value: 5}]\n").scenario
    assert scenario.search is not None
    probe = probe_of(scenario, scenario.search, 64.0, again=0, run=3, requests=1200)
    assert (probe.name, probe.load.concurrency, probe.load.num_requests) == ("mine.search-64", 64, 1200)
    assert (probe.dataset.seed, probe.targets, probe.search) == (424, [], None)
    assert probe.slo is not None
    assert probe.slo.preset == "mlperf-server"
    assert probe.point is not None
    assert (probe.point.sweep, probe.point.label, probe.point.is_probe) == ("mine", "search-64", True)
    assert probe_of(scenario, scenario.search, 64.0, again=1, run=3, requests=8).name == "mine.search-64-2"
    opened = load_text(tmp_path, f"{RATE}search: {{load.rate: [0.5, 64], slo: mlperf-server}}\n").scenario
    assert opened.search is not None
    rate = probe_of(opened, opened.search, 5.65685, again=0, run=0, requests=8)
    assert (rate.name, rate.load.arrival and rate.load.arrival.model_dump()["rate_req_s"]) == (
        "mine.search-5.65685",
        5.65685,
    )


def test_a_searched_scenario_is_saved_and_loaded(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, TEXT + SEARCH).scenario
    path = tmp_path / "saved.yaml"
    path.write_text(dump(scenario), encoding="utf-8")
    assert load(path, saved=True).scenario == scenario
    assert len(load_all(path)) == 1


@pytest.mark.needs("jsonschema")
@pytest.mark.parametrize(
    "search", [SEARCH, SEARCH.replace("load.concurrency: [1, 2048]", "load: {concurrency: [1, 2]}")]
)
def test_editors_accept_both_forms(search: str) -> None:
    import jsonschema
    import yaml

    jsonschema.validate(yaml.safe_load(TEXT + search), scenario_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(TEXT + search.replace("load", "loads")), scenario_schema())
