"""A copy of a result without host and user names, absolute paths and environment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from pytest_dsr1.machine.values import INHERITED
from pytest_dsr1.measurement.store import ANSWERS, MEASUREMENT, REQUESTS, load
from pytest_dsr1.scenario.writer import dump

LINES = (REQUESTS, "telemetry.jsonl", ANSWERS)
VERDICTS = ("verdicts.json", "accuracy.json")
DROPPED = ("hostname", "nodes", "python.path", INHERITED, "option.*.environment*", "file.*", "slurm.*")
"""Patterns of the facts that are left out."""
_PATH = re.compile(r"""(?:(?<![\w./}~-])|(?<=-[A-Z]))~?(?:/[^\s/"'`,;:()\[\]{}<>]+)+/?""")
"""Also of an option such as ``-I/usr/include``."""
_HOST = re.compile(r"(?<=://)[^\s/\"'<>]+|\b\d{1,3}(?:\.\d{1,3}){3}(?=:\d)")
_USER = re.compile(r"(?<=, user )[^)\s]+(?=\))|(?<=of user )\S+")
_LOGIN = re.compile(r"[\w.-]+(?=@(?:node\d|host\b))")
PATH, HOST, USER = "(path)", "host", "(user)"
"""What is written instead."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a run's machines, each with what is written instead."""

    known: Mapping[str, str]

    @classmethod
    def of(cls, measurement: Mapping[str, Any]) -> Names:
        """Return the names in a saved measurement."""
        facts = measurement["fingerprint"]["facts"]
        named = [*_listed(facts.get("nodes")), *_listed(facts.get("hostname"))]
        named += [gpu.rpartition(":")[0] for gpu in measurement["telemetry"]["gpus"] if isinstance(gpu, str)]
        short = [name.partition(".")[0] for name in named]
        return cls(
            {name: f"node{short.index(name.partition('.')[0]) + 1}" for name in [*named, *short] if name}
        )

    def without(self, text: str) -> str:
        """Return the text without names of machines and absolute paths."""
        if text.startswith(("/", "~/")) and ": " not in text:
            return PATH
        text = _USER.sub(USER, _HOST.sub(HOST, _PATH.sub(PATH, text)))
        for name in sorted(self.known, key=len, reverse=True):  # also in dgx-17-ib0
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", self.known[name], text)
        for domain in {name.partition(".")[2] for name in self.known} - {""}:
            text = re.sub(rf"(?:[\w-]+\.)+{re.escape(domain)}(?![A-Za-z0-9])", HOST, text)
        return _LOGIN.sub(USER, text)


def write_anonymous(folder: Path, into: Path) -> None:
    """Write the files of a result without host and user names, absolute paths and environment.

    The engine's files and logs of probes are left out, and so is a gate: they have too much of the machine.

    Args:
        folder: of the result.
        into: an empty folder.

    Raises:
        UserError: the result cannot be read.
        OSError: a file cannot be read or written.
    """
    load(folder)
    document = MEASUREMENT.read_json(folder / "measurement.json")
    names = Names.of(document["measurement"])
    _leave_out(document["measurement"])
    _write_json(into / "measurement.json", _changed(document, names.without))
    for name in VERDICTS:
        if (folder / name).exists():
            _write_json(into / name, _changed(json.loads((folder / name).read_bytes()), names.without))
    for name in LINES:
        if (folder / name).exists():
            with (
                (folder / name).open(encoding="utf-8") as read,
                (into / name).open("w", encoding="utf-8") as write,
            ):
                write.writelines(
                    f"{json.dumps(_changed(json.loads(line), names.without))}\n" for line in read
                )
    (into / "scenario.yaml").write_text(dump(load(into).scenario), encoding="utf-8")


def _leave_out(measurement: dict[str, Any]) -> None:
    facts = measurement["fingerprint"]["facts"]
    kept = {key: fact for key, fact in facts.items() if not any(fnmatchcase(key, each) for each in DROPPED)}
    if "gpu.uuids" in kept:  # still the same machine in each of its bundles
        kept["gpu.uuids"] = [
            f"GPU-{sha256(uuid.encode()).hexdigest()[:32]}" for uuid in _listed(kept["gpu.uuids"])
        ]
    if isinstance(kept.get("container.image"), str):
        kept["container.image"] = kept["container.image"].rpartition("/")[2]
    measurement["fingerprint"]["facts"] = kept
    for part in _environments(measurement["scenario"]):
        part["environment"] = {}


def _environments(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield each mapping of a scenario with an environment."""
    if isinstance(tree, dict):
        if isinstance(tree.get("environment"), dict):
            yield tree
        for value in tree.values():
            yield from _environments(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _environments(value)


def _listed(fact: Any) -> list[str]:
    return [str(each) for each in (fact if isinstance(fact, list) else [fact]) if each]


def _changed(tree: Any, change: Callable[[str], str]) -> Any:
    """Return the tree of JSON with each text changed; keys stay."""
    if isinstance(tree, dict):
        return {key: _changed(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_changed(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
