"""The search for mutants: small faults in the modules that decide, which the tests must notice.

    tox run -e mutation -- pytest_dsr1/gate/noise.py pytest_dsr1/steady/

Cosmic Ray makes the faults, one at a time, in copies of the tree, one per CPU. ``modules.yaml`` names the
modules, the tests of each, and the faults that change nothing, with the reason. A survivor is a fault that no
test notices: write a test of the behavior that it breaks, or list it as equivalent.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.helpers.paths import ROOT

LIST = Path(__file__).parent / "modules.yaml"
LEAST = 0.97
"""The share of the faults that must be noticed, without the equivalent ones."""
SECONDS = 120
"""A fault that keeps its tests busy for longer is noticed: the slowest of them take 15 s."""
PART = 20
"""The most faults that a worker tries before it takes those of another module."""

EXCLUDED = (
    r"core/RemoveDecorator",
    # `X | None` is a type, and no module here computes with bits or shifts.
    r"core/ReplaceBinaryOperator_(BitOr|BitAnd|BitXor|LShift|RShift)_\w+",
    r"core/ReplaceBinaryOperator_\w+_(Pow|Mod|FloorDiv|LShift|RShift|BitOr|BitAnd|BitXor)",
    r"core/ReplaceBinaryOperator_(Add|Sub)_(Mul|Div)",
    r"core/ReplaceUnaryOperator_(USub|UAdd|Invert)_(Invert|Not|UAdd)",
    r"core/ReplaceUnaryOperator_Not_(USub|UAdd|Invert)",
    # Of a comparison, the next limit and the opposite: `<` becomes `<=` and `>=`.
    r"core/ReplaceComparisonOperator_Lt_(?!LtE$|GtE$)\w+",
    r"core/ReplaceComparisonOperator_LtE_(?!Lt$|Gt$)\w+",
    r"core/ReplaceComparisonOperator_Gt_(?!GtE$|LtE$)\w+",
    r"core/ReplaceComparisonOperator_GtE_(?!Gt$|Lt$)\w+",
    r"core/ReplaceComparisonOperator_Eq_(?!NotEq$)\w+",
    r"core/ReplaceComparisonOperator_NotEq_(?!Eq$)\w+",
    r"core/ReplaceComparisonOperator_Is_(?!IsNot$)\w+",
    r"core/ReplaceComparisonOperator_IsNot_(?!Is$)\w+",
)
"""Operators of Cosmic Ray that only repeat what another one of the same line shows."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One changed line: the code before and after the change, without indentation."""

    was: str
    becomes: str


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one module.

    Attributes:
        noticed: the number of faults that a test noticed.
        survivors: the others, with the line of each, without the equivalent ones.
        broken: the errors of Cosmic Ray where it could not make a fault; these do not count.
    """

    noticed: int
    survivors: Sequence[tuple[int, Fault]]
    broken: Sequence[str] = ()

    @property
    def tried(self) -> int:
        """The number of faults that are not equivalent."""
        return self.noticed + len(self.survivors)


@dataclass(frozen=True, slots=True)
class Harmless:
    """The faults that change nothing: those listed for a module, and those of a kind."""

    listed: frozenset[Fault]
    kinds: tuple[str, ...] = ()

    def covers(self, fault: Fault) -> bool:
        """Return whether a fault is one of them."""
        return fault in self.listed or any(re.search(kind, fault.becomes) for kind in self.kinds)


def read() -> Mapping[str, Any]:
    """Return what ``modules.yaml`` says about each module or folder, and about all of them."""
    found: Mapping[str, Any] = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return found


def modules_of(place: str) -> list[str]:
    """Return the modules of a place in the list: itself, or those of a folder."""
    found = (ROOT / place).glob("*.py") if (ROOT / place).is_dir() else [ROOT / place]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.name != "__init__.py")


def equivalent(module: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a module that change nothing."""
    for entry in module.get("equivalent", ()):
        yield from (Fault(entry["was"], each) for each in entry["becomes"])


def found(dump: Iterable[str], harmless: Harmless) -> Found:
    """Return the result of a module from the lines of ``cosmic-ray dump``."""
    noticed, survivors, broken = 0, [], []
    for line in dump:
        item, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        if result["worker_outcome"] == "exception":
            broken.append(result["output"].strip().splitlines()[-1])
            continue
        fault = fault_of(result["diff"])
        if harmless.covers(fault):
            continue
        if result["test_outcome"] == "survived":
            survivors.append((item["mutations"][0]["start_pos"][0], fault))
        else:
            noticed += 1
    return Found(noticed, sorted(survivors), broken)


def fault_of(diff: str) -> Fault:
    """Return the change that a diff shows."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, becomes = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Fault(was, becomes)


class Trees:
    """Copies of the tree, one per worker: a worker changes a file of its own copy."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            tree = folder / str(number)
            shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
            # By default Python compares times in seconds, and misses the second of two faults in one second.
            compile_dir(tree / "pytest_dsr1", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
            self._free.put(tree)

    @contextmanager
    def one(self) -> Iterator[Path]:
        """Yield a copy that no other worker uses."""
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)


def run(tree: Path, *command: str | Path) -> str:
    """Return what a program of Cosmic Ray prints in a copy of the tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(
        command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def parts(trees: Trees, folder: Path, path: str, module: Mapping[str, Any]) -> list[Path] | None:
    """Return the faults of a module as sessions of Cosmic Ray, each with at most ``PART`` to try.

    None if a test of the module fails without any fault.
    """
    folder.mkdir()
    config, session = folder / "mutation.toml", folder / "session.sqlite"
    tests = shlex.join(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *module["tests"]]
    )
    config.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(path)}\ntimeout = {SECONDS}\nexcluded-modules = []\n"
        f"test-command = {json.dumps(tests)}\n[cosmic-ray.distributor]\nname = 'local'\n"
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(EXCLUDED)}\n",
        encoding="utf-8",
    )
    with trees.one() as tree:
        try:
            run(tree, "cosmic-ray", "baseline", config)
        except subprocess.CalledProcessError:
            return None
        run(tree, "cosmic-ray", "init", config, session)
        run(tree, "cr-filter-operators", session, config)
    with closing(sqlite3.connect(session)) as database:
        left = "SELECT job_id FROM work_items WHERE job_id NOT IN (SELECT job_id FROM work_results)"
        jobs = [job for (job,) in database.execute(left)]
    split = [frozenset(jobs[begin : begin + PART]) for begin in range(0, len(jobs), PART)]
    return [part_of(session, number, part) for number, part in enumerate(split)]


def part_of(session: Path, number: int, jobs: frozenset[str]) -> Path:
    """Return a copy of a session that has only these jobs."""
    part = session.with_name(f"part-{number}.sqlite")
    shutil.copyfile(session, part)
    with closing(sqlite3.connect(part)) as database:
        for table in ("work_results", "mutation_specs", "work_items"):
            for (job,) in database.execute(f"SELECT DISTINCT job_id FROM {table}").fetchall():
                if job not in jobs:
                    database.execute(f"DELETE FROM {table} WHERE job_id = ?", (job,))
        database.commit()
    return part


def tried(trees: Trees, part: Path) -> list[str]:
    """Return the lines of ``cosmic-ray dump``, after the tests ran once per fault of this part."""
    with trees.one() as tree:
        run(tree, "cosmic-ray", "exec", part.with_name("mutation.toml"), part)
        return run(tree, "cosmic-ray", "dump", part).splitlines()


def searched(
    chosen: Mapping[str, Mapping[str, Any]], kinds: tuple[str, ...]
) -> Iterator[tuple[str, Found | None]]:
    """Yield each module with its result, or None if a test of it fails without a fault.

    As many workers as there are CPUs share the faults of all modules.
    """
    workers = os.cpu_count() or 1
    with TemporaryDirectory(prefix="mutation-") as temporary, ThreadPoolExecutor(workers) as pool:
        folder = Path(temporary)
        trees = Trees(folder, workers)
        split = {
            path: pool.submit(parts, trees, folder / path.replace("/", "-"), path, module)
            for path, module in chosen.items()
        }
        dumps = {
            path: None if those is None else [pool.submit(tried, trees, part) for part in those]
            for path, those in ((path, future.result()) for path, future in split.items())
        }
        for path, module in chosen.items():
            lines = [line for dump in dumps[path] or () for line in dump.result()]
            harmless = Harmless(frozenset(equivalent(module)), kinds)
            yield path, None if dumps[path] is None else found(lines, harmless)


def main(places: Sequence[str]) -> int:
    """Search the modules below these paths, or all; return 1 if too many faults survive."""
    listed = read()
    kinds = tuple(kind["becomes"] for kind in listed["everywhere"])
    chosen = {
        path: module
        for place, module in listed["modules"].items()
        for path in modules_of(place)
        if not places or any(Path(path).is_relative_to(place) for place in places)
    }
    total = noticed = 0
    failing = False
    for path, result in searched(chosen, kinds):
        if result is None:
            failing = True
            print(f"{path}: a test fails without any fault; mend it first", flush=True)
            continue
        total, noticed = total + result.tried, noticed + result.noticed
        print(f"{path}: {result.noticed} of {result.tried} noticed", flush=True)
        for error in result.broken:
            print(f"  Cosmic Ray could not make a fault: {error}", flush=True)
        for line, fault in result.survivors:
            print(f"  {path}:{line}\n    - {fault.was}\n    + {fault.becomes}", flush=True)
    share = noticed / total if total else 0.0
    print(f"{noticed} of {total} faults noticed, {share:.1%}; at least {LEAST:.0%} are required")
    return int(failing or share < LEAST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
