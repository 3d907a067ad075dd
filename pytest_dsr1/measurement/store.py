"""Saved results: one folder per run, written during the run and readable after a kill.

``measurement.json``
    ``{"format": "pytest-dsr1 measurement", "version": 1, "state": ..., ...}``; written when the run begins
    (state ``running``) and again when it ends (``complete`` with the measurement, or ``failed`` with the
    error). Replaced atomically.
``requests.jsonl``
    One :class:`~pytest_dsr1.records.RequestRecord` per line, appended as requests end.
``telemetry.jsonl``
    One :class:`~pytest_dsr1.machine.values.GpuSample` per line, appended by the recorder.
``answers.jsonl``
    One :class:`~pytest_dsr1.records.AskedQuestion` per line, written at the end; only with `accuracy`.
``scenario.yaml``
    The scenario as it ran; pytest can run this file.
``verdicts.json``
    The latest verdicts, replaced after each judgment.
``cause.json``
    The cause of a bad result, written at the end of the session.
``engine/``
    Everything the engine wrote: command, options, logs, reports.

docs/reference/results.md describes each field.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pytest_dsr1.errors import IncompleteError, InvalidRunError, UserError
from pytest_dsr1.machine.values import FORCED, FactValue, GpuSample
from pytest_dsr1.masking import masked_fact, masked_tree
from pytest_dsr1.measurement.measurement import DEFINITIONS, Measurement
from pytest_dsr1.metrics.catalogue import METRICS, MetricValue
from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.records import AskedQuestion, RequestRecord
from pytest_dsr1.scenario.rules.speculation import as_saved, by_hand
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.validators import validating
from pytest_dsr1.scenario.variables import without_secrets
from pytest_dsr1.scenario.writer import dump
from pytest_dsr1.storage.documents import CHANGED, DocumentError, DocumentKind, changed
from pytest_dsr1.storage.files import open_regular, write_atomically

SPREAD = "steady_output_throughput"
"""The metric that :data:`~pytest_dsr1.measurement.measurement.DEFINITIONS` is about."""
REQUESTS = "requests.jsonl"
ANSWERS = "answers.jsonl"
MEASUREMENT = DocumentKind("a saved measurement", "pytest-dsr1 measurement", 1)


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into an error with one sentence.

    Raises:
        InvalidRunError: results cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InvalidRunError(
            f"{folder}: results cannot be written: {error.strerror}; free space there, or choose another "
            "folder with --dsr1-results=DIR"
        ) from None


@contextmanager
def not_full(folder: Path) -> Iterator[None]:
    """Turn a full disk, under whatever an engine writes, into an error with one sentence.

    Raises:
        InvalidRunError: there is no space left.
        OSError: another error, which may be a mistake of ours.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise InvalidRunError(
            f"{error.filename or folder}: the engine's files cannot be written: {error.strerror}; free space "
            "there, or choose another folder with --dsr1-results=DIR"
        ) from None


class ResultFolder:
    """The folder of one run's results, written during the run. As a context manager, closes the records."""

    def __init__(self, path: Path, scenario: Scenario, test_id_prefix: str, started: datetime) -> None:
        """Create the folder and state that a run is in progress.

        Raises:
            InvalidRunError: results cannot be written.
        """
        self.path = path
        self.engine = path / "engine"
        # Secrets are masked, but who else reads an environment is the owner's decision.
        self._private = any(scenario.engine.process_environments)
        self._head = {
            **MEASUREMENT.head,
            "profile": scenario.name,
            "place": test_id_prefix,
            "started_utc": started.isoformat(timespec="seconds"),
        }
        with saving(path):
            self.engine.mkdir(parents=True)
            text = f"# As it ran, from {test_id_prefix}.\n{dump(scenario)}"
            write_atomically(path / "scenario.yaml", text, private=self._private)
            self._write({"state": "running"})
            self._records = (path / REQUESTS).open("w", encoding="utf-8", buffering=1)

    @classmethod
    def create(cls, root: Path, scenario: Scenario, test_id_prefix: str, started: datetime) -> ResultFolder:
        """Create the folder ``root/<profile>/<UTC time>``; later runs of one second get a number after it.

        Raises:
            UserError: the folder cannot be created.
            InvalidRunError: results cannot be written in it.
        """
        stem = started.strftime("%Y%m%dT%H%M%SZ")
        for name in (stem, *(f"{stem}-{n}" for n in range(2, 1000))):
            path = root / scenario.name / name
            try:
                path.mkdir(parents=True)
            except OSError as error:
                if isinstance(error, FileExistsError) and os.path.lexists(path):
                    continue
                raise UserError(
                    f"{path}: results cannot be written: {error.strerror}; choose another folder with "
                    "--dsr1-results=DIR"
                ) from None
            return cls(path, scenario, test_id_prefix, started)
        raise UserError(f"{root / scenario.name}: no free folder name for {stem}")

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk was already reported by the write
            self._records.close()

    def _write(self, body: Mapping[str, object]) -> None:
        with saving(self.path):
            text = json.dumps({**self._head, **body}, indent=1)
            write_atomically(self.path / "measurement.json", text, private=self._private)

    def record(self, record: RequestRecord) -> None:
        """Append one request."""
        with saving(self.path):
            self._records.write(_row(record))

    def fail(self, message: str) -> None:
        """State that the run failed, and why; a failing write must not hide the reason."""
        with suppress(InvalidRunError):
            self._write({"state": "failed", "error": message})

    def complete(self, measurement: Measurement) -> None:
        """State that the run is complete, and write the records that the engine gave only at the end."""
        lines = [_row(record) for record in measurement.result.records]
        with saving(self.path):
            self._records.close()
            write_atomically(self.path / REQUESTS, "".join(lines))
            if measurement.asked:
                answers = [json.dumps(asdict(each)) + "\n" for each in measurement.asked]
                write_atomically(self.path / ANSWERS, "".join(answers))
        slim = replace(
            measurement,
            result=replace(measurement.result, records=(), answers=()),
            telemetry=replace(measurement.telemetry, samples=()),
            asked=(),
        )
        body = _saved(json.loads(_MEASUREMENT.dump_json(slim, by_alias=True)))
        counts = {"records": len(lines), **({"answers": len(measurement.asked)} if measurement.asked else {})}
        self._write({"state": "complete", **counts, "measurement": body})


_MEASUREMENT = TypeAdapter(Measurement)
_RECORD = TypeAdapter(RequestRecord)


def _row(record: RequestRecord) -> str:
    """Return the line of a request."""
    # With asdict() this takes 3 times as long, and a run has many requests.
    return f"{json.dumps(_RECORD.dump_python(record))}\n"


def _saved(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measurement in the form of version 1 of the file."""
    left_out = {"folder", "asked"}
    left_out |= set() if body["cpu_load"] else {"cpu_load"}
    left_out |= {"definitions"} if body["definitions"] == 1 else set()
    saved = {name: value for name, value in body.items() if name not in left_out}
    result = {name: value for name, value in body["result"].items() if name != "answers"}
    return {**saved, "result": result, "gpu_health": saved["gpu_health"] or {}}


def newest(folder: Path) -> Path | None:
    """Return the newest complete run of a profile's folder; None if there is none.

    Raises:
        UserError: a newer one cannot be read.
    """
    runs = {path.parent for path in folder.glob("*/measurement.json")}
    # Runs of the same second end with a number of one or more digits.
    for run in sorted(runs, key=lambda run: (run.name[:16], len(run.name), run.name), reverse=True):
        if _document(run).get("state") == "complete":
            return run
    return None


def load(folder: Path) -> Measurement:
    """Return a saved measurement.

    Raises:
        IncompleteError: the run has not ended, or failed.
        UserError: the folder has no measurement of this format; the message names file and line.
    """
    document = _complete(folder)
    slim = _slim(document, folder)
    records = _counted(folder / REQUESTS, "requests", RequestRecord, document.get("records"))
    whole = replace(
        slim,
        result=replace(slim.result, records=records),
        telemetry=replace(slim.telemetry, samples=load_samples(folder)),
        asked=_counted(folder / ANSWERS, "answers", AskedQuestion, document.get("answers", 0)),
    )
    return _redefined(whole) if counted_at_the_end(whole.definitions, whole.metrics) else whole


def load_slim(folder: Path) -> Measurement:
    """Return a saved measurement without requests, samples and answers, whose files are large.

    Raises:
        IncompleteError, UserError: as :func:`load`.
    """
    slim = _slim(_complete(folder), folder)
    if not counted_at_the_end(slim.definitions, slim.metrics):
        return slim
    return replace(slim, metrics=load(folder).metrics, definitions=DEFINITIONS)


def load_requests(folder: Path) -> tuple[RequestRecord, ...]:
    """Return the requests of a saved measurement, in order of completion.

    Raises:
        IncompleteError, UserError: as :func:`load`.
    """
    return _counted(folder / REQUESTS, "requests", RequestRecord, _complete(folder).get("records"))


def load_samples(folder: Path) -> tuple[GpuSample, ...]:
    """Return the samples of the GPUs of a saved measurement, in order of time.

    Raises:
        UserError: as :func:`load`.
    """
    return tuple(_lines(folder / "telemetry.jsonl", GpuSample))


def _counted(path: Path, what: str, kind: type[Any], said: object) -> tuple[Any, ...]:
    found = tuple(_lines(path, kind))
    if len(found) != said:
        raise UserError(
            f"{path}: contains {len(found)} {what}, but measurement.json says {said}; the folder was changed "
            "after it was written"
        )
    return found


def _complete(folder: Path) -> dict[str, Any]:
    document = _document(folder)
    if document.get("state") != "complete":
        why = {"running": "the run was killed or is still in progress"}.get(
            str(document.get("state")), f"the run failed: {document.get('error')}"
        )
        raise IncompleteError(f"{folder / 'measurement.json'}: contains no complete measurement: {why}")
    return document


def _slim(document: dict[str, Any], folder: Path) -> Measurement:
    path = folder / "measurement.json"
    try:
        slim = _MEASUREMENT.validate_python(_read(document, folder), strict=False)
    except ValidationError as error:
        raise UserError(f"{path}: {changed(error)}") from None
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: {error} is missing; {CHANGED}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply; {CHANGED}") from None
    return _without_unknown_metrics(slim)


def counted_at_the_end(definitions: int, metrics: Iterable[str]) -> bool:
    """Return whether a result has the old value of `steady_output_throughput` (see :data:`DEFINITIONS`).

    Args:
        definitions: of the result.
        metrics: the names of its metrics.
    """
    names = set(metrics)
    return definitions < DEFINITIONS and SPREAD in names and "average_ttft" not in names


def _redefined(measurement: Measurement) -> Measurement:
    """Return a measurement with `steady_output_throughput` as it is defined now, from the saved requests."""
    inputs = MetricInputs(measurement.result.records, concurrency=measurement.scenario.load.at_once)
    value = METRICS[SPREAD].compute(inputs)
    others = {name: metric for name, metric in measurement.metrics.items() if name != SPREAD}
    now = {} if value is None else {SPREAD: MetricValue(value, "records")}
    found = {**others, **now}
    return replace(
        measurement,
        metrics={name: found[name] for name in measurement.metrics if name in found},
        definitions=DEFINITIONS,
    )


def _without_unknown_metrics(measurement: Measurement) -> Measurement:
    """Return the measurement without metrics of plugins that are not installed; a warning names them."""
    unknown = [name for name in measurement.metrics if name not in METRICS]
    if not unknown:
        return measurement
    result = measurement.result
    warning = f"{', '.join(unknown)}: left out, because no installed plugin defines this metric"
    return replace(
        measurement,
        metrics={name: value for name, value in measurement.metrics.items() if name in METRICS},
        result=replace(result, warnings=(*result.warnings, warning)),
    )


def _document(folder: Path) -> dict[str, Any]:
    """Return the content of measurement.json, in any state of the run."""
    path = folder / "measurement.json"
    try:
        return MEASUREMENT.read_json(path)
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no measurement.json; a saved result is a folder that a run wrote, such as "
            ".dsr1/<profile>/<UTC time>"
        ) from None
    except DocumentError as error:
        raise UserError(f"{path}: {error}") from None


def _read(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Undo :func:`_saved`."""
    body = dict(document["measurement"])
    # The scenario's schema is strict; only validation from JSON accepts JSON's types.
    with validating(body["scenario"]["engine"].get("type")):
        scenario = Scenario.model_validate_json(json.dumps(body["scenario"]))
    body["scenario"] = as_saved(without_secrets(scenario))
    body["result"] = {**body["result"], "facts": masked_tree(body["result"]["facts"])}
    facts = {**forced_by_hand(scenario, {}), **body["fingerprint"]["facts"]}
    body["fingerprint"] = {"facts": {key: masked_fact(key, fact) for key, fact in facts.items()}}
    return {**body, "folder": folder, "gpu_health": body.get("gpu_health") or None}


def forced_by_hand(scenario: Scenario, environ: Mapping[str, str]) -> dict[str, FactValue]:
    """Return the acceptance length that is forced without the scenario's key, as this key would be a fact."""
    return dict(zip([FORCED], by_hand(scenario, environ), strict=False))


def _lines(path: Path, kind: type[Any]) -> Iterable[Any]:
    if not path.exists():
        return
    adapter = TypeAdapter(kind)
    try:
        with open_regular(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    yield adapter.validate_json(line)
                except ValidationError as error:
                    raise UserError(f"{path}:{number}: {changed(error)}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
