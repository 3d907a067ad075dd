"""The file of accepted references: ``<store>/<profile>.yaml``, small and reviewed in git. No run changes it.

It has one line per fact and one per run, so that a review shows what changed. The checksum in the last line
reveals truncation, merges and edits by hand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pytest_dsr1.errors import InvalidRunError, NoReferenceError, ReferencesError
from pytest_dsr1.gate import comparability, recordings
from pytest_dsr1.gate.comparability import short
from pytest_dsr1.gate.references import ReferenceRun, References, how_to_get_more, noise_by
from pytest_dsr1.metrics.catalogue import METRICS, found_by_search, metric_named
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.storage import yaml_loaders
from pytest_dsr1.storage.documents import DocumentError, DocumentKind, changed, read_text
from pytest_dsr1.storage.filelock import NO_LOCKS, holder, lock_file, sign
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.verdict.targets import Noise

REFERENCES = DocumentKind("a file of accepted references", "pytest-dsr1 references", 1)
SKEW = timedelta(minutes=5)
"""The clocks of two machines may differ by this much."""

_HEAD = """\
# Accepted reference runs, which `pytest --dsr1-gate` compares with. Written by
# `pytest-dsr1 references accept`; not to be edited: the last line is a checksum of all lines above it.
"""
_CONFLICT = re.compile(r"^(<<<<<<<|>>>>>>>)( .*)?$", re.MULTILINE)
_CHECKSUM = re.compile(r'^sha256: "([0-9a-f]{64})"\n\Z', re.MULTILINE)
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_FIRST_KEYS = ("profile", "metric", "unit", "better", "requests", "warmup_requests")
_REFERENCES = TypeAdapter(References)


def path_of(store: Path, profile: str) -> Path:
    """Return the file of a profile's accepted references."""
    return store / f"{profile}.yaml"


def to_text(references: References) -> str:
    """Return the text of the file."""
    accepted = references.accepted
    nodes = {short(node): node for node in sorted(references.nodes)}
    facts, under_test = references.facts, references.under_test
    document = {
        **REFERENCES.head,
        **{key: getattr(references, key) for key in _FIRST_KEYS},
        "accepted": {**asdict(accepted), "at": _time(accepted.at)},
        "moved": _Line(under_test),
        "fixed": comparability.with_role("fixed", facts, under_test),
        "under_test": comparability.with_role("under test", facts, under_test),
        "nodes": nodes,
        "runs": tuple(map(_run, references.runs)),
    }
    body = _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)
    return f'{body}sha256: "{sha256(body.encode()).hexdigest()}"\n'


def from_text(text: str, name: str, profile: str) -> References:
    """Return the references of a file's text; ``name`` is the file's name in messages.

    Raises:
        ReferencesError: the text was changed after it was written.
    """
    _check(text, name)
    try:
        return _from_document(yaml_loaders.load(text))
    except ValidationError as error:
        raise ReferencesError(f"{name}: {changed(error)}; {again(name)}") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReferencesError(
            f"{name}: is not what `pytest-dsr1 references accept {profile}` writes ({reason}); {again(name)}"
        ) from None


def intact(path: Path) -> bool:
    """Return whether a file contains references and is unchanged; its content is not checked further."""
    try:
        _check(read_text(path), str(path))
    except (OSError, DocumentError, ReferencesError):
        return False
    return True


def _check(text: str, name: str) -> None:
    """Refuse a text that was changed after it was written; ``name`` is the file's name in messages.

    Raises:
        ReferencesError: the text was changed; the message says how.
    """
    advice = again(name)
    conflict = _CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        raise ReferencesError(
            f"{name}:{line}: contains a merge conflict; take one whole side with `git checkout --ours "
            f"{name}` or --theirs, or delete it and accept again"
        )
    try:
        REFERENCES.check_yaml(text)
    except DocumentError as error:
        raise ReferencesError(f"{name}: {error}; {advice}") from None
    checksum = _CHECKSUM.search(text)
    if checksum is None:
        raise ReferencesError(f"{name}: does not end with its checksum: it is truncated; {advice}")
    if sha256(text[: checksum.start()].encode()).hexdigest() != checksum[1]:
        raise ReferencesError(
            f"{name}: does not match its checksum: it was edited by hand or merged after it was written; "
            f"{advice}"
        )


def read(store: Path, profile: str, now: datetime) -> References:
    """Return the accepted references of a profile, as the file has them.

    Raises:
        NoReferenceError: there is no file.
        ReferencesError: the file cannot be trusted; the message lists everything that is wrong.
    """
    path = path_of(store, profile)
    try:
        text = read_text(path)
    except FileNotFoundError:
        waiting = len(recordings.names(store, profile))
        raise NoReferenceError(
            f"{path}: there is no such file, because no references of {profile} have been accepted; "
            f"{waiting} recorded runs are waiting to be accepted; {how_to_get_more(profile)}"
        ) from None
    except DocumentError as error:
        raise ReferencesError(f"{path}: {error}; {again(str(path))}") from None
    references = from_text(text, str(path), profile)
    problems = _problems(references, profile, now, _first_run(text))
    _refuse(
        path, problems, _restore(str(path)) if references.profile == profile else _renamed(references, path)
    )
    return references


def load(store: Path, scenario: Scenario, now: datetime) -> References:
    """Return the accepted references of a scenario; their facts have the roles that the scenario gives them.

    Raises:
        NoReferenceError: there is no file.
        ReferencesError: the file cannot be trusted, or is about another metric.
    """
    references = read(store, scenario.name, now)
    if references.metric != scenario.gated_metric:
        raise ReferencesError(
            f"{path_of(store, scenario.name)}: contains references of {references.metric}, but the scenario "
            f"gates {scenario.gated_metric or 'no metric'}; set gate.metric, or accept again with "
            f"`pytest-dsr1 references accept {scenario.name} --reason TEXT`"
        )
    return replace(references, under_test=scenario.gate.under_test)


def noise_of(
    store: Path, scenario: Scenario, facts: comparability.Facts, metric: str, now: datetime
) -> Noise:
    """Return how much engine starts differ in a metric, from its references if there are any.

    Args:
        store: the folder of references.
        scenario: of the run.
        facts: the run's fingerprint. Facts that must be equal for a gate must be equal here too, except the
            node, because the noise is that within nodes.
        metric: its name.
        now: the current time, for the references' age.
    """
    references = None
    if metric == scenario.gated_metric:
        with suppress(NoReferenceError, ReferencesError):
            references = load(store, scenario, now)
    return noise_by(references, scenario, facts, metric)


def accepted_probes(
    store: Path, scenario: Scenario, node: str, now: datetime
) -> dict[str, tuple[float, ...]]:
    """Return the probes of a scenario's references on a node, by probe; empty without any."""
    with suppress(NoReferenceError, ReferencesError):
        return load(store, scenario, now).probes_on(node)
    return {}


def write(store: Path, references: References) -> Path:
    """Replace the accepted references of a profile; a kill leaves either the old file or the new one.

    Raises:
        ReferencesError: the file cannot be written; the old one is unchanged.
    """
    path = path_of(store, references.profile)
    try:
        store.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_text(references))
    except OSError as error:
        raise ReferencesError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None
    return path


@contextmanager
def locked(store: Path, profile: str, what: str) -> Iterator[None]:
    """Lock the references of a profile: one gate or one acceptance at a time.

    Args:
        store: the folder of references.
        profile: the name of the profile.
        what: describes the holder, for the message of another process that finds them locked.

    Raises:
        InvalidRunError: another process holds the lock, or they cannot be locked.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        file = lock_file(store, f".{profile}")
        if file is not None:
            sign(file, what)
    except OSError as error:
        advice = "make the folder and this file writable, or free space there"
        if error.errno in NO_LOCKS:
            advice = "mount it with locks (Lustre: -o flock), or choose a store elsewhere"
        raise InvalidRunError(
            f"{error.filename or store}: the references of {profile} cannot be locked: {error.strerror}; "
            f"{advice}"
        ) from None
    if file is None:
        raise InvalidRunError(
            f"{store}: the references of {profile} are in use by {holder(store, f'.{profile}')}; wait for it "
            "to end"
        )
    with file:
        yield


def _first_run(text: str) -> int:
    """Return the line of the first run."""
    return next(line for line, content in enumerate(text.split("\n"), 2) if content.startswith("runs:"))


def _problems(references: References, profile: str, now: datetime, first_run: int) -> Iterator[str]:
    """Yield what is wrong with references in an intact file; ``first_run`` is the line of the first run."""
    if references.profile != profile:
        yield (
            f"contains references of {references.profile!r}, not of {profile!r}: the scenario was renamed, "
            "or the file copied"
        )
    searched = references.metric in found_by_search()
    metric = metric_named(references.metric) if searched else METRICS.get(references.metric)
    if metric is None or not (searched or metric.gateable):
        yield f"metric: {references.metric} cannot be gated"
    else:
        for key, found, expected in (
            ("unit", references.unit, metric.unit),
            ("better", references.better, metric.better),
        ):
            if found != expected:
                yield f"{key} of {references.metric}: expected {expected!r}, found {found!r}"
    if not (references.requests > 0 and references.warmup_requests >= 0):
        yield (
            f"expected requests >= 1 and warmup_requests >= 0; found {references.requests} and "
            f"{references.warmup_requests}"
        )
    if references.accepted.at > now + SKEW:
        yield f"accepted at {_time(references.accepted.at)}, but it is {_time(now)} now: a clock was wrong"
    seen: dict[object, int] = {}
    for line, run in enumerate(references.runs, first_run):
        for key in ("value", "se_percent", "window_s", "startup_s"):
            number = getattr(run, key)
            if not (math.isfinite(number) and (number > 0 or (number == 0 and key in _MAY_BE_ZERO))):
                yield f"line {line}: {key} is {number}, not a finite positive number"
        if run.at > min(now, references.accepted.at) + SKEW:
            later = f"it is {_time(now)} now"
            if run.at <= now + SKEW:
                later = f"was accepted at {_time(references.accepted.at)}"
            yield f"line {line}: the run began at {_time(run.at)}, but {later}: a clock was wrong"
        for same in ((run.at, run.node), run.recording):
            if seen.setdefault(same, line) != line:
                yield f"line {line}: repeats the run of line {seen[same]}"
                break


_MAY_BE_ZERO = ("se_percent", "startup_s")


def _refuse(path: Path, problems: Iterable[str], advice: str) -> None:
    lines = list(problems)
    if lines:
        raise ReferencesError(
            "\n".join([f"{path}: cannot be used:", *(f"  {line}" for line in lines), advice])
        )


def _restore(name: str) -> str:
    return f"`git log -p -- {name}` shows its history, `git checkout -- {name}` restores the committed file"


def _renamed(references: References, path: Path) -> str:
    name = references.profile
    return f"rename the scenario back to {name!r}, or delete {path} and {how_to_get_more(path.stem)}"


def again(name: str) -> str:
    """Return what to do about a file of references that cannot be trusted."""
    return f"{_restore(name)}; or delete it and accept again"


def _from_document(document: dict[str, Any]) -> References:
    nodes = document["nodes"]
    return _REFERENCES.validate_python(
        {
            **document,
            "under_test": document["moved"],
            "facts": document["fixed"] | document["under_test"],
            "runs": [
                {**run, "node": nodes[run["node"]], "recording": run["candidate"]}
                for run in document["runs"] or ()
            ],
        }
    )


def _run(run: ReferenceRun) -> _Line:
    return _Line(
        at=_time(run.at),
        node=short(run.node),
        value=run.value,
        se_percent=run.se_percent,
        window_s=run.window_s,
        startup_s=run.startup_s,
        candidate=run.recording,
        **({"gpus": asdict(run.gpus)} if run.gpus else {}),
        **({"probes": dict(run.probes)} if run.probes else {}),
    )


def _time(at: datetime) -> str:
    return at.isoformat()


class _Line(dict[str, Any]):
    """A mapping on one line."""


class _Dumper(yaml.SafeDumper):
    """A dumper that puts text in quotes, keys only where they need them, and each list on one line."""

    def ignore_aliases(self, _: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        for key, _ in node.value:
            if _PLAIN_KEY.fullmatch(key.value):
                key.style = None
        return node


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)
_Dumper.add_representer(
    _Line, lambda dumper, line: dumper.represent_mapping("tag:yaml.org,2002:map", line, flow_style=True)
)
