"""The files made from the schemas and the metrics: JSON Schemas for editors, and two pages of docs/.

``python -m pytest_dsr1.scenario.reference_pages`` in the source tree rewrites them; a test keeps them
current.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_dsr1.metrics.catalogue import METRICS, targetable
from pytest_dsr1.metrics.registry import Metric
from pytest_dsr1.scenario.profiles import shipped_suites
from pytest_dsr1.scenario.rules.general import all_relations
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.accuracy import PRESETS
from pytest_dsr1.scenario.schema.engine import engines
from pytest_dsr1.scenario.schema.json_schema import Schema
from pytest_dsr1.storage.files import write_atomically

SCHEMA_NAME = "scenario.schema.json"
"""The schema's file in the folder of the shipped suites."""
SITE_SCHEMA_NAME = "site.schema.json"
"""The file of the schema of site files, next to it."""

_DRAFT = "http://json-schema.org/draft-07/schema#"
_EXTENDS: Schema = {
    "type": "string",
    "minLength": 1,
    "description": "The name of another scenario, or its path relative to this file. Its values apply unless "
    "this scenario sets its own.",
}

_INTRODUCTION = """\
# Scenario reference

Made by `python -m pytest_dsr1.scenario.reference_pages`; change the schema, not this page.

A scenario is one file of YAML 1.2: `true` and `false` are the only booleans, and text that looks like a
number needs quotes. For completion and checks in an editor, begin the file with

    # yaml-language-server: $schema=PATH/scenario.schema.json

PATH is the path of `suites/`, or of `pytest_dsr1/suites/` in the installed package.
`pytest --dsr1-list` lists the scenarios that ship.

**Variables.** `${NAME}` is expanded from the environment when the scenario runs, and only in
EXPANDED. Listing, collecting and planning keep it as written. A relative path is
relative to the folder in which pytest was started.

**Another scenario's values.** `extends: NAME` or `extends: relative/path.yaml` inherits everything from
another scenario except its `name`. Mappings are merged, lists and single values are replaced, and `null`
removes an optional value, unless its key below gives `null` a meaning. A length is always replaced as a
whole. `engine` is replaced as a whole if its `type` differs. Your own scenario may extend the shipped one of
the same name.

**For one run.** `--dsr1-set KEY=VALUE` sets one value: `--dsr1-set load.concurrency=64`. It can be
repeated. The value is YAML. The items of a list are numbered from 0, and a target can be selected by its
metric: `--dsr1-set targets.total_output_throughput.value=36000`.

Lengths are in tokens; other units are part of the key's name.
"""


_SITE = """\
## The site file

It says how to use the cluster at hand: where a scenario runs, never what it measures. Name it with
`--dsr1-site=FILE` or the variable DSR1_SITE; without it the defaults apply. Its schema for editors is
`site.schema.json`, next to that of scenarios.

    slurm:
      sbatch: [--partition=batch, --account=team]
      srun: [--container-image=IMAGE, --container-mounts=/models]
"""

_METRICS_INTRODUCTION = """\
# Metrics

Made by `python -m pytest_dsr1.scenario.reference_pages`; change the modules in `pytest_dsr1/metrics/`, not
this page.

The names and definitions are TensorRT-LLM's. i runs over the requests that succeeded. Start is the moment a
request was handed to the engine, after it got its concurrency slot. In an open loop (`load.arrival`) start is
the time in the schedule, even if the request was sent later, so TTFT, request latency and e2e include all
waiting. End is the moment the last token arrived; e2e = end - start. Percentiles are not interpolated. If an
engine's report states a metric, that value counts (`origin: report`); otherwise it is recomputed from the
request records, and for energy from NVML's counters (`origin: records`).

- `per_user_output_throughput` includes prefill and queueing in the engine. It is a mean of ratios, not
  1/TPOT. It says little if the concurrency is not limited.
- TTFT, TPOT and output speed need streaming (STREAMING).
- `acceptance_length` is 1 without speculation.
- The metrics `steady_...` need request records of a closed loop.
- Energy is the growth of the GPUs' energy counters from the first submission to the last token. They are
  read once per second and interpolated at both ends. If the power of a GPU jumps by P watts at an end, this
  is wrong by at most P / 4 joules there: 0.7% of a run of 60 s at 600 W, between idle times at 100 W. Energy
  is not measured if a used GPU has no counter, a counter fell or stood still for over 3 s, it was not read
  for over 3 s, or it differs from the power samples by over 20% and 2 s of power. Power samples never replace
  a counter.
- Failed requests take energy but add no tokens. The cost counts only GPU-hours of the measured time.
"""

_STEADY_FIGURE = """\
## Steady figure of a run

A target judges the whole run. A gate judges the steady figure of a run: the same metric without warm-up and
drain. The metrics `steady_...` are different: their steady window begins as soon as enough requests are in
flight, so it includes warm-up, and it can end in the middle of a wave.

**Rates** (RATES): the amount in a window of time, divided by the window's length, or by another
amount in it. A request and its input tokens count at the end of the request, so each request is inside or
outside the window as a whole.
Output tokens are spread evenly over time: with streaming, all but the first, from first token to end;
without streaming, all of them, from start to end.

- The window begins when the first `gate.warmup_requests` requests have ended, or later if MSER-5 cuts more.
- It ends with the last submission, because the drain begins then. In a closed loop with one user it ends
  when the last request ends.
- Energy is interpolated between readings, so its window needs at least 10 of them, one per second. A gate
  of an energy metric does not end a run early.
- It begins and ends at submissions. In a closed loop it spans a whole multiple of `load.concurrency`
  submissions: requests of equal length move in waves, and part of a wave would bias the figure.

**Means over requests** (MEANS): the mean over the requests in order of
submission, without the first `gate.warmup_requests` (more if MSER-5 cuts more). A closed loop with several
users also omits the last `load.concurrency` requests. In a closed loop the mean is over a whole multiple of
`load.concurrency` requests.

**MSER-5** (White 1997, Spratt 1998) finds the end of the warm-up. It looks at about 200 observations of a
rate, or at one observation per request for a mean, in batches of five. Among the cuts in the first half it
chooses the one that minimizes the variance of the rest, divided by the length of the rest. In a closed loop
each observation covers a whole wave. With fewer than 50 observations it cuts nothing. At least two waves are
kept (two requests, if there are no waves).

**Standard error**: computed from ten batches of whole waves, or from one batch per wave if there are fewer
than ten waves; at least two are needed. It is the standard error of a ratio, because waves differ in length.
For equal waves it is the standard deviation of the batches divided by the square root of their number. It
shows how certain the figure of this run is, not how much engine starts differ.

**Without request records** the figure comes from a series of output tokens over time, if the engine reports
one ([trtllm-bench](engines/tensorrt-llm.md) does). Then only output rates have a steady figure, and a request
counts as an equal share of the output tokens.

Other metrics (percentiles, goodput, total latency) have no steady figure and cannot be gated.

**Length of a gated run**: T = sqrt(S v / b). S is the time of a run outside its window in seconds. v is the
relative variance of the figure, times the seconds of the window. b is the relative variance between starts
(Kalibera and Jones 2013). T is rounded up to whole waves. It is at least three request latencies and at most
as long as the recorded runs.
"""


def file_schema() -> Schema:
    """Return the JSON Schema (draft 7) of a scenario file; with ``extends``, only ``name`` is required."""
    schema = copy.deepcopy(json_schema.scenario_schema())
    full = _untitled(schema)
    definitions: dict[str, Schema] = full.pop("$defs")
    full["properties"] = {"extends": _EXTENDS, **full["properties"]}
    parts = {f"{name}Part": _partial(definition) for name, definition in definitions.items()}
    part = {**_partial(full), "required": ["extends", "name"]}
    return {
        "$schema": _DRAFT,
        "title": "pytest-dsr1 scenario",
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/ScenarioPart"},
        "else": {"$ref": "#/$defs/Scenario"},
        "$defs": {"Scenario": full, "ScenarioPart": part, **definitions, **parts},
    }


def site_schema() -> Schema:
    """Return the JSON Schema (draft 7) of a site file."""
    schema: Schema = _untitled(json_schema.site_schema())
    return {"$schema": _DRAFT, "title": "pytest-dsr1 site", **schema}


def _untitled(schema: Any) -> Any:
    """Return the schema without pydantic's titles, which only repeat the names of the keys."""
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
"""The keywords below which a schema's keys are names, not keywords."""


def _partial(schema: Any) -> Any:
    """Return the schema of a partial scenario: nothing is required, and an engine may lack its type."""
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
    """Return the text of docs/reference/scenario.md."""
    names = [f"`{key}`" for key in json_schema.expanded_keys()]
    paths = f"{', '.join(names[:-1])} and {names[-1]}"
    return "\n".join(
        [
            _INTRODUCTION.replace("EXPANDED", paths),
            "## Keys",
            "",
            *_tables(json_schema.scenario_schema(), "", "The top level", []),
            "## Rules between values",
            "",
            "A scenario that breaks one of these rules is refused:",
            "",
            *(f"- {relation.rule}" for relation in all_relations() if relation.impossible),
            "",
            "A scenario that breaks one of these rules still runs, but with a warning:",
            "",
            *(f"- {relation.rule}" for relation in all_relations() if not relation.impossible),
            "",
            "## Published shares of right answers",
            "",
            "For `accuracy.tasks.N.at_least`. Each source finds the answer in the text by a rule of its own, "
            "so [ours](../how-to/datasets.md#questions) may give another share for the same text:",
            "",
            "| name | share | source |",
            "|---|---|---|",
            *(f"| `{name}` | {each.share:.4g} | {each.source} |" for name, each in PRESETS.items()),
            "",
            _SITE,
            *_tables(json_schema.site_schema(), "", "Keys of the site file", []),
            "## Metrics",
            "",
            "The metrics of targets and published results; [metrics.md](metrics.md) defines them:",
            "",
            ", ".join(f"`{name}`" for name in targetable()) + ".",
            "",
        ]
    )


def metrics_page() -> str:
    """Return the text of docs/reference/metrics.md."""
    rows = (
        f"| `{m.name}` | {m.unit} | {m.better} | {_cell(m.formula)} | {_cell(m.source)} |"
        for m in METRICS.values()
    )
    return "\n".join(
        [
            _METRICS_INTRODUCTION.replace("STREAMING", _streaming()),
            "| metric | unit | better | formula | source |",
            "|---|---|---|---|---|",
            *rows,
            "",
            _STEADY_FIGURE.replace("RATES", _names(m for m in METRICS.values() if m.counts)).replace(
                "MEANS", _names(m for m in METRICS.values() if m.of_request)
            ),
        ]
    )


def _names(metrics: Iterable[Metric]) -> str:
    return ", ".join(f"`{metric.name}`" for metric in metrics)


def _streaming() -> str:
    """Return the setting with which an engine streams, and the names of the engines that have it."""
    names: dict[str, list[str]] = {}
    for name, schema in engines().items():
        if setting := schema.settings.settings_for.get("streaming"):
            names.setdefault(setting, []).append(name)
    return "; ".join(f"{', '.join(each)}: `{setting}`" for setting, each in names.items())


def _tables(schema: Schema, key: str, title: str, shown: list[tuple[Schema, str]]) -> Iterator[str]:
    """Yield a table for a mapping, then those of the mappings in it.

    Args:
        schema: of the mapping.
        key: its dotted key.
        title: of the table.
        shown: the mappings that have a table, with their titles; this one and those in it are added.
    """
    form = json_schema.resolve(schema)
    required = form.get("required", ())
    yield from (f"### {title}", "", _description(schema, form), "") if key else (f"### {title}", "")
    if same := next((other for one, other in shown if one == form), ""):
        yield from (f"Its keys are those of {same} above.", "")
        return
    shown.append((form, title))
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    inner: list[tuple[Schema, str, str]] = []
    for name, child in form["properties"].items():
        default = "required" if name in required else _default(child)
        meaning = _cell(_description(child, json_schema.resolve(child)))
        yield f"| `{name}` | {_value(child)} | {default} | {meaning} |"
        inner += _mappings(child, f"{key}.{name}" if key else name)
    yield ""
    for child, child_key, child_title in inner:
        yield from _tables(child, child_key, child_title, shown)


def _mappings(schema: Schema, key: str) -> list[tuple[Schema, str, str]]:
    """Return the mappings in a value, with keys and titles; a length is described in the row of its key."""
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
    names = form.get("enum", ())
    if tuple(names) == targetable():
        return f"one of the {len(names)} names under Metrics"
    return _cell(f"one of {', '.join(map(repr, names))}" if names else json_schema.describe(schema))


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default is None else f"`{json.dumps(default)}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Rewrite the files of the source tree."""
    suites = shipped_suites()
    docs = suites.parent / "docs"
    write_atomically(suites / SCHEMA_NAME, schema_text(file_schema()))
    write_atomically(suites / SITE_SCHEMA_NAME, schema_text(site_schema()))
    write_atomically(docs / "reference" / "scenario.md", reference_page())
    write_atomically(docs / "reference" / "metrics.md", metrics_page())


def schema_text(schema: Schema) -> str:
    """Return the text of a JSON Schema's file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
