"""InferenceX's master configurations: every search space is a sweep.

The keys are those of configs/CONFIGS.md (SemiAnalysisAI/InferenceX, 843c6254). Its client sends 10 requests
per request in flight after a warm-up of 2, and draws lengths from ``int(X * 0.8)`` to ``X``
(benchmarks/benchmark_lib.sh, utils/bench_serving; RANDOM_RANGE_RATIO is in
.github/workflows/benchmark-tmpl.yml).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_dsr1.importing.fields import Fields
from pytest_dsr1.importing.harvest import Case, Harvest, Refusal, RefusedError
from pytest_dsr1.importing.inferencex_options import SCRIPTS, Point
from pytest_dsr1.importing.models import checkpoint_on_hugging_face
from pytest_dsr1.importing.served import Lengths, Origin, ServedRun, safe_name
from pytest_dsr1.importing.swept import point_of, sweep_of
from pytest_dsr1.scenario.problems import Mark
from pytest_dsr1.scenario.swept_point import LONGEST_OF_SWEEP

_ROUNDS, _WARMUP_ROUNDS = 10, 2
_SHORTEST = 0.8
_LARGEST_CONCURRENCY = 1 << 20
_OURS = "dsr1"
_MARKS_AN_ENTRY = {"framework", "model-prefix"}
_NOTES = (
    "The entry says only the parallelism; the other options are those of InferenceX's script for this "
    "precision and GPU at commit 843c6254.",
)
_WITH_TEMPLATE = (
    "InferenceX's client puts each prompt into the chat template and counts the template as input; token ids "
    "have the same length without it."
)


def is_master(values: Mapping[str, Any]) -> bool:
    """Return whether a file's top level is a master configuration: a mapping per entry."""
    return any(
        isinstance(node.value, dict) and node.value.keys() >= _MARKS_AN_ENTRY for node in values.values()
    )


def read(top: Fields, origin: Origin, harvest: Harvest) -> None:
    """Add the runs of the DeepSeek-R1 entries to the harvest."""
    others = []
    for name in top.names:
        entry = top.fields(name)
        prefix = entry.text("model-prefix")
        if prefix != _OURS:
            others.append(prefix or "not named")
            continue
        mark = top.mark_of(name)
        try:
            rows = list(_rows(name, entry, origin))
        except RefusedError as error:
            harvest.refusals.append(Refusal(mark, name, str(error)))
            continue
        harvest.cases += _sweeps(name, mark, harvest.take(mark, name, rows), origin)
    harvest.refuse_others(top.node.mark, "entry", "entries", others)


@dataclass(frozen=True, slots=True)
class _Found:
    """A point of a row, as a run."""

    point: Point
    mtp: bool
    run: ServedRun


def _sweeps(name: str, mark: Mark, found: Sequence[_Found], origin: Origin) -> list[Case]:
    """Return a sweep for each search space of an entry."""
    cases = []
    spaces: dict[tuple[int, int], list[_Found]] = {}
    for each in found:
        spaces.setdefault((each.point.isl, each.point.osl), []).append(each)
    for (isl, osl), points in spaces.items():
        lengths = f"{isl}x{osl}"
        called = safe_name(name, lengths, longest=LONGEST_OF_SWEEP)
        mixed = len({each.mtp for each in points}) > 1
        labels = [_words(each.point) + ("-mtp" if mixed and each.mtp else "") for each in points]
        runs = dict(zip(labels, (each.run for each in points), strict=True))
        again = ", ".join(label for label, count in Counter(labels).items() if count > 1)
        notes = [f"More than once in the source, once here: {again}."] if again else []
        tree = sweep_of(called, f"entry {name}, {lengths}", runs, origin, notes)
        cases.append(Case(called, mark, tree))
    return cases


def _rows(name: str, entry: Fields, origin: Origin) -> Iterator[tuple[str, Callable[[], list[_Found]]]]:
    """Yield each row of the entry's search spaces: its name, and what returns its points.

    Raises:
        RefusedError: the entry cannot be imported.
    """
    framework, runner, precision = (entry.text(key) for key in ("framework", "runner", "precision"))
    if entry.flag("multinode"):
        raise RefusedError("it needs several nodes; sweeps of several nodes are not imported")
    if framework != "trt":
        raise RefusedError(
            f"its framework is {framework}; only entries of TensorRT-LLM (trt) are imported, because the "
            "options of the others are in scripts of their own"
        )
    checkpoint = checkpoint_on_hugging_face(entry.text("model"))
    if checkpoint is None:
        raise RefusedError(f"the checkpoint {entry.text('model') or 'without a name'} is unknown")

    before = len(entry.problems)

    def runs(row: Fields, isl: int, osl: int) -> list[_Found]:
        mtp = _with_mtp(row)
        script_of = SCRIPTS.get((precision, runner, mtp))
        if script_of is None:
            raise RefusedError(f"the options of its script for {precision} on {runner} are unknown")
        found = []
        for point in _points(row, isl, osl):
            script = script_of(point)
            run = ServedRun(
                name=safe_name(name, f"{isl}x{osl}", _words(point)),
                what=f"entry {name}, {isl}x{osl}, {_words(point)}",
                checkpoint=checkpoint,
                gpu=runner.upper(),
                gpus=point.tp,
                options=script.options(point),
                lengths=Lengths(point.isl, point.osl, _SHORTEST),
                concurrency=point.concurrency,
                rounds=_ROUNDS,
                warmup_requests=_WARMUP_ROUNDS * point.concurrency,
                environment=script.environment,
                notes=(*_NOTES, _WITH_TEMPLATE) if mtp else _NOTES,
            )
            point_of(run, origin)  # a row that needs several nodes is refused as a whole
            found.append(_Found(point, mtp, run))
        return found if len(entry.problems) == before else []

    for load in entry.fields("scenarios").items("fixed-seq-len"):
        isl, osl = load.needed("isl") or 1, load.needed("osl") or 1
        for row in load.items("search-space"):
            yield f"the row on line {row.node.mark.line}", partial(runs, row, isl, osl)


def _with_mtp(row: Fields) -> bool:
    """Return whether a row of the search space has MTP.

    Raises:
        RefusedError: the row has another kind of speculation, or of parallelism.
    """
    speculation = row.text("spec-decoding", "none")
    if speculation not in {"none", "mtp"}:
        raise RefusedError(f"its speculation {speculation} is unknown")
    for key in ("pp", "dcp-size", "pcp-size"):
        if (row.whole(key, 1) or 1) > 1:
            raise RefusedError(f"its scripts for one node do not use {key}")
    return speculation == "mtp"


def _points(row: Fields, isl: int, osl: int) -> Iterator[Point]:
    """Yield the points of a row: each concurrency of a list, or from a start to an end by doubling."""
    tp, ep = row.needed("tp") or 1, row.whole("ep", 1) or 1
    for concurrency in _concurrencies(row):
        yield Point(isl, osl, tp, ep, row.flag("dp-attn"), concurrency)


def _concurrencies(row: Fields) -> list[int]:
    if "conc-list" in row:
        listed = row.node.plain()["conc-list"]
        if isinstance(listed, list) and listed and all(type(one) is int and one > 0 for one in listed):
            return listed
        row.mistake("conc-list", "expected a list of whole numbers of at least 1")
        return []
    start, end = row.needed("conc-start"), row.needed("conc-end")
    if start is None or end is None:
        return []
    if not start <= end <= _LARGEST_CONCURRENCY:
        row.mistake("conc-end", f"expected {start} to {_LARGEST_CONCURRENCY}, found {end}")
        return []
    steps = [start]
    while steps[-1] < end:
        steps.append(min(steps[-1] * 2, end))
    return steps


def _words(point: Point) -> str:
    attention = "-dpa" if point.dp_attention else ""
    return f"tp{point.tp}-ep{point.ep}{attention}-c{point.concurrency}"
