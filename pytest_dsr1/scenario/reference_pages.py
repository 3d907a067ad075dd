"""Writes what is made from the schema and the metrics: the JSON Schema for editors, and two pages of docs/.

``python -m pytest_dsr1.scenario.reference_pages`` in the source tree rewrites them; a test keeps them
current.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from pytest_dsr1.metrics.catalogue import METRICS, targetable
from pytest_dsr1.scenario.profiles import shipped_suites
from pytest_dsr1.scenario.rules.general import all_relations
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.json_schema import Schema
from pytest_dsr1.storage.files import write_atomically

SCHEMA_NAME = "scenario.schema.json"
"""The schema's file in the folder of the shipped suites."""

_EXTENDS: Schema = {
    "type": "string",
    "minLength": 1,
    "description": "Another scenario's name, or its file relative to this one, whose values hold where this "
    "scenario gives none.",
}

_INTRODUCTION = """\
# Scenario reference

Made by `python -m pytest_dsr1.scenario.reference_pages`; change the schema, not this page.

A scenario is one YAML file. Its values are those of YAML 1.2: `true` and `false` are the only booleans, and
text that looks like a number needs quotes. For completion and checks in an editor begin the file with

    # yaml-language-server: $schema=PATH/scenario.schema.json

with the path of the schema in `suites/`, or in `pytest_dsr1/suites/` of the installed package.
`pytest --dsr1-list` shows the scenarios that ship.

**Variables.** `${NAME}` is expanded from the environment when the scenario runs, and only in
PLACES; listing, collecting and planning keep it as written. A relative path is
relative to the folder in which pytest was started.

**Another scenario's values.** `extends: NAME` or `extends: relative/path.yaml` takes over all of another
scenario but its `name`. Mappings are merged, lists and single values replaced, and `null` removes an
optional value. Lengths, and an engine of another `type`, are replaced whole. An own scenario may extend the
shipped one of its own name.

**For one run.** `--dsr1-set KEY=VALUE`, repeatable, sets one value: `--dsr1-set engine.max_batch_size=64`.
The value is YAML; a list's items have numbers from 0, and a target may be named by its metric:
`--dsr1-set targets.total_output_throughput.value=36000`.

Lengths are in tokens; every other unit stands in the name.
"""


_METRICS_INTRODUCTION = """\
# Metrics

Made by `python -m pytest_dsr1.scenario.reference_pages`; change the modules in `pytest_dsr1/metrics/`, not
this page.

The names and definitions are TensorRT-LLM's. i runs over the requests that succeeded; start is the moment a
request was handed to the engine, after it got its concurrency slot, and in an open loop (`load.arrival`) the
moment it was due by the schedule, however late it was sent: TTFT, request latency and e2e hold all that it
waited. End is the moment its last token arrived; e2e = end - start. Percentiles are not interpolated. Where
an engine's report states a metric that value counts (`origin: report`), else it is recomputed from request
records (`origin: records`).

- `per_user_output_throughput` includes prefill and queueing in the engine, and is a mean of ratios: not
  1/TPOT. It says little where the concurrency is not bounded.
- TTFT, TPOT and output speed need streaming (trtllm-bench: `engine.streaming: true`).
- `acceptance_length` is 1 without speculation.
- `steady_...` need request records of a closed loop; the overview says why where a run has no steady window.
"""

_STEADY_FIGURE = """\
## Steady figure of a run

A target judges the whole run. A gate judges its steady figure: the same metric without warm-up and drain.
It is not what the metrics `steady_...` say of the steady window, which begins as soon as enough requests are
in flight and so has warm-up in it, and ends in any part of a wave.

**Rates** (`request_throughput`, `total_output_throughput`, `total_token_throughput`,
`per_gpu_output_throughput`): what came in a window of time, over its length. A request and its input tokens
count at its end, so that a window holds whole requests of them. Its output tokens after the first come
evenly from first token to end, without streaming all of them from start to end.

- The window begins when the first `gate.warmup_requests` requests have ended, or later, where MSER-5 cuts.
- In a closed loop with several users it ends with the last submission, since then the drain begins; with
  one user with the last end; in an open loop with the last submission.
- It begins and ends at submissions, in a closed loop a whole multiple of `load.concurrency` of them apart.
  Requests of equal length move in waves, and a window with a part of a wave would be biased by it.

**Means over requests** (`per_user_output_throughput`, `average_request_latency`, `average_ttft`,
`average_tpot`, `per_user_output_speed`, `acceptance_length`): the mean over the requests in order of
submission, without the first `gate.warmup_requests`, or more where MSER-5 cuts, and in a closed loop with
several users without the last `load.concurrency`. In a closed loop they are a whole multiple of
`load.concurrency`.

**MSER-5** (White 1997, Spratt 1998) looks at about 200 observations of a rate, or at those of the requests,
in batches of five. The cut minimizes the variance of the rest over its length, among cuts in the first
half. In a closed loop each observation is over a whole wave. Fewer than 50 observations say nothing, and at
least two waves (requests, where there are no waves) are kept.

**Standard error**: from ten batches of whole waves, or one a wave where there are fewer than ten; two at
least. It is that of a ratio, since waves differ in length; for equal ones it is the batches' standard
deviation over the square root of their number. It says how sure the figure of this run is, not how much
engine starts differ.

**Without request records** (trtllm-bench above 20 million output tokens) there is a series of output tokens
over time where `engine.llm_api.print_iter_log` is on, else by the progress bar, and only output rates have
a steady figure. Requests are then counted as equal shares of the output tokens.

Other metrics (percentiles, goodput, total latency) have no steady figure and cannot be gated.

**Length of a gated run**: T = sqrt(S v / b), with S the seconds of a run outside its window, v the relative
variance of the figure times the seconds of its window, b the relative variance between starts (Kalibera and
Jones 2013). It is rounded up to whole waves, is at least three request latencies, and is no longer than the
recorded runs.
"""


def file_schema() -> Schema:
    """The JSON Schema (draft 7) of a scenario file; a file with ``extends`` needs no key but its ``name``."""
    schema = copy.deepcopy(json_schema.scenario_schema())
    full = _untitled(schema)
    definitions: dict[str, Schema] = full.pop("$defs")
    full["properties"] = {"extends": _EXTENDS, **full["properties"]}
    parts = {f"{name}Part": _partial(definition) for name, definition in definitions.items()}
    part = {**_partial(full), "required": ["extends", "name"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "pytest-dsr1 scenario",
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/ScenarioPart"},
        "else": {"$ref": "#/$defs/Scenario"},
        "$defs": {"Scenario": full, "ScenarioPart": part, **definitions, **parts},
    }


def _untitled(schema: Any) -> Any:
    """The schema without pydantic's titles, which only repeat the names of the keys."""
    if isinstance(schema, dict):
        return {
            key: {name: _untitled(value) for name, value in item.items()}
            if key in _NAMED
            else _untitled(item)
            for key, item in schema.items()
            if key != "title"
        }
    return [_untitled(item) for item in schema] if isinstance(schema, list) else schema


_NAMED = {"properties", "$defs"}
"""Where the keys of a schema are names and not its own words."""


def _partial(schema: Any) -> Any:
    """The schema for a part of what it describes: nothing is required, and an engine may lack its type."""
    if isinstance(schema, list):
        return [_partial(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    words = {"oneOf": "anyOf"}
    part = {words.get(key, key): _partial(item) for key, item in schema.items() if key not in _WHOLE}
    if "$ref" in part:
        part["$ref"] = f"{part['$ref']}Part"
    # A list replaces the base's, so its items are whole.
    return {**part, "items": schema["items"]} if "items" in schema else part


_WHOLE = {"required", "discriminator"}


def reference_page() -> str:
    """The text of docs/reference/scenario.md."""
    places = " and ".join(f"`{'.'.join(map(str, path))}`" for path in json_schema.places())
    return "\n".join(
        [
            _INTRODUCTION.replace("PLACES", places),
            "## Keys",
            "",
            *_tables(json_schema.scenario_schema(), "", "The top level"),
            "## What must hold between values",
            "",
            "A scenario that breaks one of these rules is refused:",
            "",
            *(f"- {relation.rule}" for relation in all_relations() if relation.impossible),
            "",
            "A scenario that breaks one of these runs with a warning:",
            "",
            *(f"- {relation.rule}" for relation in all_relations() if not relation.impossible),
            "",
            "## Metrics",
            "",
            "What a target or a published result may name, defined in [metrics.md](metrics.md):",
            "",
            ", ".join(f"`{name}`" for name in targetable()) + ".",
            "",
        ]
    )


def metrics_page() -> str:
    """The text of docs/reference/metrics.md."""
    rows = (
        f"| `{m.name}` | {m.unit} | {m.better} | {_cell(m.formula)} | {_cell(m.source)} |"
        for m in METRICS.values()
    )
    return "\n".join(
        [
            _METRICS_INTRODUCTION,
            "| metric | unit | better | formula | source |",
            "|---|---|---|---|---|",
            *rows,
            "",
            _STEADY_FIGURE,
        ]
    )


def _tables(schema: Schema, key: str, title: str) -> Iterator[str]:
    """A table for a mapping, then those of the mappings in it."""
    form = json_schema.resolve(schema)
    required = form.get("required", ())
    yield from (f"### {title}", "", _description(schema, form), "") if key else (f"### {title}", "")
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    inner: list[tuple[Schema, str, str]] = []
    for name, child in form["properties"].items():
        default = "required" if name in required else _default(child)
        meaning = _cell(_description(child, json_schema.resolve(child)))
        yield f"| `{name}` | {_value(child)} | {default} | {meaning} |"
        inner += _mappings(child, f"{key}.{name}" if key else name)
    yield ""
    for child, child_key, child_title in inner:
        yield from _tables(child, child_key, child_title)


def _mappings(schema: Schema, key: str) -> list[tuple[Schema, str, str]]:
    """The mappings a value holds, with their keys and titles; lengths are told in the value's own row."""
    form = json_schema.resolve(schema)
    if "discriminator" in form:
        options = json_schema.options_of(form).items()
        return [(option, key, f"`{key}` with `type: {tag}`") for tag, option in options]
    if form.get("type") == "array" and "properties" in json_schema.resolve(form["items"]):
        return [(form["items"], f"{key}.N", f"`{key}`, each")]
    return [(schema, key, f"`{key}`")] if "properties" in form else []


def _description(schema: Schema, form: Schema) -> str:
    return str(schema.get("description") or form.get("description", ""))


def _value(schema: Schema) -> str:
    form = json_schema.resolve(schema)
    if form.get("type") == "array" and "properties" in json_schema.resolve(form["items"]):
        return "a list of mappings"
    if "properties" in form or "discriminator" in form:
        return "a mapping"
    return _cell(json_schema.describe(schema).replace("in `pytest-dsr1 docs scenario`", "under Metrics"))


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default is None else f"`{json.dumps(default)}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Rewrites the files of the source tree."""
    suites = shipped_suites()
    docs = suites.parent / "docs"
    write_atomically(suites / SCHEMA_NAME, schema_text())
    write_atomically(docs / "reference" / "scenario.md", reference_page())
    write_atomically(docs / "reference" / "metrics.md", metrics_page())


def schema_text() -> str:
    """The text of the JSON Schema's file."""
    return json.dumps(file_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
