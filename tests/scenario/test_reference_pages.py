"""The JSON Schema and the reference page are current, and the schema accepts what loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import Field

from pytest_dsr1.metrics.catalogue import targetable
from pytest_dsr1.metrics.goodput import PRESETS
from pytest_dsr1.scenario import reference_pages, validation
from pytest_dsr1.scenario.profiles import discover, shipped_suites
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.load import Slo
from pytest_dsr1.scenario.schema.scenario import Load, Scenario
from tests.helpers.paths import DOCS
from tests.helpers.scenario_files import GOOD, changed, load_text, mistakes

REWRITE = "run `python -m pytest_dsr1.scenario.reference_pages`"


def errors(data: Any) -> list[str]:
    validator = jsonschema.Draft7Validator(reference_pages.file_schema())
    return [error.message for error in validator.iter_errors(data)]


def test_the_files_are_current() -> None:
    schema = (shipped_suites() / reference_pages.SCHEMA_NAME).read_text(encoding="utf-8")
    page = (DOCS / "reference" / "scenario.md").read_text(encoding="utf-8")
    assert schema == reference_pages.schema_text(reference_pages.file_schema()), REWRITE
    site = (shipped_suites() / reference_pages.SITE_SCHEMA_NAME).read_text(encoding="utf-8")
    assert site == reference_pages.schema_text(reference_pages.site_schema()), REWRITE
    assert page == reference_pages.reference_page(), REWRITE
    metrics = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert metrics == reference_pages.metrics_page(), REWRITE


def test_all_are_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_pages, "shipped_suites", lambda: tmp_path / "suites")
    (tmp_path / "suites").mkdir()
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    reference_pages.main()
    assert (
        json.loads((tmp_path / "suites" / "scenario.schema.json").read_text())
        == reference_pages.file_schema()
    )
    assert (tmp_path / "docs" / "reference" / "scenario.md").read_text() == reference_pages.reference_page()
    assert (tmp_path / "docs" / "reference" / "metrics.md").read_text() == reference_pages.metrics_page()
    site = json.loads((tmp_path / "suites" / "site.schema.json").read_text())
    assert site == reference_pages.site_schema()
    assert len(list(tmp_path.rglob("*.*"))) == 4


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(reference_pages.file_schema())
    jsonschema.Draft7Validator.check_schema(reference_pages.site_schema())


@pytest.mark.parametrize("path", discover([]).select("*"), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_schema_accepts_a_shipped_scenario(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nme": "x"}, "Additional properties are not allowed ('nme' was unexpected)"),
        ({"hardware": {"count": -1}}, "-1 is less than the minimum of 0"),
        ({"targets": [{}]}, "'metric' is a required property"),
        ({"extends": 5}, "5 is not of type 'string'"),
    ],
)
def test_the_schema_refuses_mistakes_with_and_without_a_base(change: dict[str, Any], message: str) -> None:
    assert errors(yaml.safe_load(GOOD)) == []
    assert message in errors({**yaml.safe_load(GOOD), **change})
    assert message in errors({"name": "x", "extends": "y", **change})


def test_with_a_base_only_the_name_is_required() -> None:
    assert errors({"name": "x", "extends": "y", "engine": {"tp": 4}, "dataset": {"seed": 1}}) == []
    assert errors({"extends": "y"}) == ["'name' is a required property"]
    assert errors({"name": "x", "extends": "y", "targets": [{"value": 5}]}) == [
        "'metric' is a required property"
    ]
    missing = [message for message in errors({"name": "x"}) if message.endswith("is a required property")]
    assert len(missing) == len(reference_pages.file_schema()["$defs"]["Scenario"]["required"]) - 1


def test_the_page_tells_every_key() -> None:
    page = reference_pages.reference_page()
    for name, definition in {
        "Scenario": Scenario.model_json_schema(),
        **Scenario.model_json_schema()["$defs"],
    }.items():
        if name in {"Normal", "Uniform"}:  # told in the row of the length
            continue
        for key, value in definition["properties"].items():
            assert f"| `{key}` |" in page, (name, key)
            assert value.get("description") or "$ref" in value, f"{name}.{key} has no docstring"


class PacedLoad(Load):
    """How the requests are sent, with one more key."""

    pace: Annotated[float, Field(gt=0)]
    """The pace of the tests."""


class PacedScenario(Scenario):
    """A scenario with one more key in its load."""

    load: PacedLoad


@pytest.fixture
def one_more_field(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The schema is that of :class:`PacedScenario`."""
    caches = (json_schema.scenario_schema, json_schema.expanded_paths)
    with monkeypatch.context() as patch:
        for module in (json_schema, validation):
            patch.setattr(module, "Scenario", PacedScenario)
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("one_more_field")
def test_a_new_field_is_described_by_its_declaration_alone(tmp_path: Path) -> None:
    def with_pace(value: str) -> str:
        return changed(("  concurrency: 1024\n", f"  concurrency: 1024\n  pace: {value}\n"))

    assert load_text(tmp_path, with_pace("2.5")).scenario.load.model_dump()["pace"] == 2.5
    assert mistakes(tmp_path, GOOD) == ["s.yaml:14:3: load.pace: missing; expected a number above 0"]
    assert mistakes(tmp_path, with_pace("0")) == [
        "s.yaml:15:9: load.pace: expected a number above 0, found the number 0"
    ]
    assert "'pace' is a required property" in errors(yaml.safe_load(GOOD))
    assert errors(yaml.safe_load(with_pace("2.5"))) == []
    assert "| `pace` | a number above 0 | required | The pace of the tests. |" in (
        reference_pages.reference_page()
    )


def test_the_schema_names_the_presets_and_their_limits() -> None:
    described = Slo.model_fields["preset"]
    assert set(get_args(get_args(described.annotation)[0])) == set(PRESETS)
    server, interactive = PRESETS["mlperf-server"], PRESETS["mlperf-interactive"]
    limits = (
        f"TTFT {server.ttft_ms:,.0f} ms and TPOT {server.tpot_ms:g} ms for `mlperf-server`, "
        f"{interactive.ttft_ms:,.0f} ms and {interactive.tpot_ms:g} ms for `mlperf-interactive`"
    )
    assert limits in (described.description or "")


def test_only_the_names_below_metrics_are_looked_up_there() -> None:
    """The metrics that a gate can judge, and kernel libraries, are named in their rows."""
    page = reference_pages.reference_page()
    (row,) = {line.split(" |")[1] for line in page.splitlines() if "names under Metrics" in line}
    assert row == f" one of the {len(targetable())} names under Metrics"
    assert "'mean_power_per_gpu' |  | The gated metric" in page
