"""Loading: ``extends``, where a value stands, and what a loaded scenario knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.profiles import discover
from tests.helpers.scenario_files import GOOD, changed, load_text, mistakes


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_child_takes_over_all_but_the_name_and_replaces_lists(tmp_path: Path) -> None:
    write(tmp_path, base=changed(("    cuda_graph_config:", "    moe_config: {}\n    cuda_graph_config:")))
    loaded = load_text(
        tmp_path,
        "extends: base.yaml\n"
        "name: child\n"
        "engine:\n"
        "  ep: 4\n"
        "  environment: {A: b}\n"
        "  llm_api: {moe_config: null}\n"
        "targets:\n"
        "  - metric: total_latency\n"
        "    value: 5\n",
    )
    scenario = loaded.scenario
    base = load(tmp_path / "base.yaml").scenario
    engine = base.engine.model_dump()
    engine["ep"] = 4
    engine["environment"]["A"] = "b"
    assert engine["llm_api"]["moe_config"] is not None
    engine["llm_api"]["moe_config"] = None
    assert scenario.engine.model_dump() == engine
    assert [target.metric for target in scenario.targets] == ["total_latency"]
    assert (
        scenario.model_copy(update={"name": "mine", "engine": base.engine, "targets": base.targets}) == base
    )


PUBLISHED = "published: [{version: V1, values: {total_output_throughput: 1}}]\n"


def published(
    folder: Path, text: str, *overrides: str
) -> list[tuple[str, str | None, str | None, int | None]]:
    found = load_text(folder, text, *overrides).scenario.published
    return [(each.version, each.model, each.gpu, each.gpus) for each in found]


def test_published_results_keep_of_what_they_are(tmp_path: Path) -> None:
    here = ("V1", "deepseek-ai/DeepSeek-R1", "NVIDIA H200", 8)
    write(tmp_path, base=GOOD + PUBLISHED)
    assert published(tmp_path, GOOD + PUBLISHED, "model.name=other/model", "hardware.gpu=NVIDIA B200") == [
        here
    ]
    child = "extends: base.yaml\nname: child\nmodel: {name: other/model}\nhardware: {count: 4}\n"
    child += "engine: {tp: 4, ep: 4}\n"
    assert published(tmp_path, child) == [here]
    own = PUBLISHED.replace("V1", "V2")
    assert published(tmp_path, child + own) == [("V2", "other/model", "NVIDIA H200", 4)]
    said = own.replace("version: V2", "version: V2, model: its/own, gpu: NVIDIA B200, gpus: 2")
    assert published(tmp_path, child + said) == [("V2", "its/own", "NVIDIA B200", 2)]
    random = (
        "extends: base.yaml\nname: child\nhardware: {gpu: null, count: 0}\n"
        "model: {path: null, random_weights: {}}\nengine: {type: transformers}\n"
    )
    assert published(tmp_path, random) == [here]
    assert published(tmp_path, random + PUBLISHED) == [("V1", None, None, 0)]


@pytest.mark.parametrize(
    ("text", "overrides", "keys"),
    [
        (GOOD + PUBLISHED, [], []),
        (GOOD + PUBLISHED, ["load.concurrency=1024", "hardware.gpu_hour_price=2", "engine.tp=8"], []),
        (
            GOOD + PUBLISHED,
            [
                "load.concurrency=64",
                "engine.llm_api.cuda_graph_config=",
                "dataset.input_tokens={mean: 5, stdev: 0}",
            ],
            ["dataset.input_tokens", "engine.llm_api.cuda_graph_config", "load.concurrency"],
        ),
        (
            GOOD + PUBLISHED,
            ["hardware={}", "model.path=", "model.random_weights={}", "engine={type: transformers}"],
            ["engine.type"],
        ),
        ("extends: base.yaml\nname: c\nload: {num_requests: 9}\n", [], ["load.num_requests"]),
        ("extends: base.yaml\nname: c\nload: {num_requests: 9}\n", ["load.num_requests=5120"], []),
        (f"extends: base.yaml\nname: c\nload: {{num_requests: 9}}\n{PUBLISHED}", [], []),
        (
            GOOD + PUBLISHED.replace("version", "changed: [load.concurrency], version"),
            ["load.num_requests=9"],
            ["load.concurrency", "load.num_requests"],
        ),
    ],
    ids=[
        *("as published", "the same or no option", "load and options", "another engine"),
        *("extended", "as published again", "own results", "changed before"),
    ],
)
def test_published_results_say_what_was_changed_since(
    tmp_path: Path, text: str, overrides: list[str], keys: list[str]
) -> None:
    write(tmp_path, base=GOOD + PUBLISHED)
    (published,) = load_text(tmp_path, text, *overrides).scenario.published
    assert (published.changed or []) == keys


@pytest.mark.parametrize("wrong", ["published: 1", "published: [1]", "published: [{model: [1]}]"])
def test_published_results_of_another_shape_are_a_mistake(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UserError, match=r"s\.yaml:\d+:\d+: published"):
        load_text(tmp_path, f"{GOOD}{wrong}\n")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "name: deepseek-ai/DeepSeek-R1",
            "name: 5",
            '7:9: model.name: expected text, found the number 5; put it in quotes: "5"',
        ),
        (
            "name: deepseek-ai/DeepSeek-R1",
            "name: ${MODEL}",
            "7:9: model.name: variables (${...}) are expanded only in accuracy.tasks.N.path, dataset.path, "
            "engine.arguments, engine.ca_file, engine.command, "
            "engine.disaggregated.context.environment, engine.disaggregated.generation.environment, "
            "engine.environment, engine.url, "
            "load.arrival.path, model.path; write the value itself",
        ),
        ("gpu: NVIDIA H200", "gpu: [1]", "4:8: hardware.gpu: expected text, found a list"),
        (
            "count: 8",
            "count: -8",
            "5:10: hardware.count: expected a whole number of at least 0, found the number -8",
        ),
    ],
)
def test_a_mistake_in_what_published_results_are_of_is_said_once(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    text = changed((right, wrong)) + PUBLISHED.replace("}]", "}, {version: V2, values: {}}]")
    assert mistakes(tmp_path, text) == [f"s.yaml:{message}"]


def test_a_mistake_in_published_results_is_said_next_to_others(tmp_path: Path) -> None:
    text = changed(("count: 8", "count: x")) + PUBLISHED.replace("version", "gpus: y, version")
    assert [line for line in mistakes(tmp_path, text) if "gpus" in line] == [
        "s.yaml:33:20: published.0.gpus: expected a whole number of at least 0, found the text 'y'"
    ]


def test_lengths_and_an_engine_of_another_type_are_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path, base=GOOD.replace("input_tokens: 1024", "input_tokens: {mean: 900, stdev: 0}"))
    scenario = load_text(
        tmp_path,
        "extends: base.yaml\n"
        "name: child\n"
        "hardware: {gpu: null, count: 0}\n"
        "model: {path: null, random_weights: {}}\n"
        "dataset: {input_tokens: {minimum: 1, maximum: 2}}\n"
        "engine: {type: transformers, threads: 2}\n",
    ).scenario
    assert scenario.engine.model_dump(exclude_defaults=True) == {"type": "transformers", "threads": 2}
    assert scenario.dataset.model_dump()["input_tokens"] == {"minimum": 1, "maximum": 2}


def test_a_mistake_stands_in_the_file_that_makes_it(tmp_path: Path) -> None:
    write(
        tmp_path, base=GOOD.replace("max_num_tokens", "max_num_tokns").replace("  tp: 8", "  tp: 8\n  tp: 8")
    )
    assert mistakes(tmp_path, "extends: base.yaml\nname: child\nload:\n  num_requests: x\n") == [
        "s.yaml:4:17: load.num_requests: expected a whole number of at least 1, or text such as "
        "`5 x load.concurrency`, found the text 'x'",
        "base.yaml:19:3: the key 'tp' appears a second time; it is already on line 18",
        "base.yaml:22:3: engine.max_num_tokns: unknown key (did you mean 'max_num_tokens'?)",
    ]


def test_a_relation_blames_the_file_of_its_key(tmp_path: Path) -> None:
    write(tmp_path, base=GOOD)
    assert mistakes(tmp_path, "extends: base.yaml\nname: child\nengine:\n  tp: 4\n") == [
        "s.yaml:4:3: engine.tp: expected tp x pp to be hardware.count, 8; found tp 4 x pp 1 = 4 GPUs",
        "base.yaml:19:3: engine.ep: expected a divisor of engine.tp, 4; found 8",
    ]


def test_where_finds_a_value_through_bases_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, base=GOOD, child="name: child\nextends: base.yaml\nengine:\n  ep: 4\n")
    loaded = load(
        Path("child.yaml"), overrides=["targets.0.value=5", "load={concurrency: 1, num_requests: 1}"]
    )
    assert loaded.where("engine.ep") == "child.yaml:4"
    assert loaded.where("engine.tp") == "base.yaml:18"
    assert loaded.where("targets.1") == "base.yaml:31"
    assert loaded.where("targets.0.value") == "base.yaml:29"
    assert loaded.where("targets.0.note") == "base.yaml:29"
    assert loaded.where("load.concurrency") == "child.yaml:1"
    assert loaded.where("validity.throttled_share") == "child.yaml:1"
    assert load((tmp_path / "child.yaml").absolute()).where("name") == "child.yaml:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "extends: b200-min-latncy\nname: x\n",
            "s.yaml:1:10: extends: no scenario is named 'b200-min-latncy' (did you mean "
            "'b200-min-latency' or 'h200-min-latency' or 'b200-min-latency-ladder'?)",
        ),
        (
            "extends: other.yaml\n",
            "s.yaml:1:10: extends: there is no file 'other.yaml' relative to this file (other.yaml)",
        ),
        (
            "extends: [a]\n",
            "s.yaml:1:10: extends: expected the name of a scenario or a path relative to this file",
        ),
        (
            "extends:\n",
            "s.yaml:1:9: extends: expected the name of a scenario or a path relative to this file",
        ),
        ("extends: s.yaml\n", "s.yaml:1:10: extends: goes in a circle: s.yaml extends s.yaml"),
        (
            "extends: ./link.yaml\n",
            "link.yaml:1:10: extends: goes in a circle: s.yaml extends link.yaml extends s.yaml",
        ),
        ("extend: h200-min-latency\nname: x\n", "s.yaml:1:1: extend: unknown key (did you mean 'extends'?)"),
        (
            "extends: h200-min-latency\n",
            "s.yaml:1:1: name: missing; expected text of the form `^[A-Za-z0-9][A-Za-z0-9._-]*$`",
        ),
        (
            "extends: folder.yaml\n",
            "folder.yaml: is a folder; expected a scenario file (choose one of the files in it)",
        ),
    ],
)
def test_what_cannot_be_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    write(tmp_path, link="extends: s.yaml\n", s=text)
    with pytest.raises(UserError) as caught:
        load(Path("s.yaml"))
    assert str(caught.value) == f"s.yaml: 1 mistake in this scenario\n  {message}"


def test_an_own_scenario_may_extend_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    write(
        tmp_path, mine="extends: h200-max-throughput\nname: h200-max-throughput\nload: {num_requests: 1024}\n"
    )
    catalogue = discover([tmp_path])
    (path,) = catalogue.select("h200-max-throughput")
    loaded = load(path, catalogue=catalogue)
    assert loaded.scenario.load.num_requests == 1024
    assert loaded.scenario.load.concurrency == 1024
