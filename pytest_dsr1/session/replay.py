"""The saved results that a session judges again: runs, and the searches and pairs that they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import UserError
from pytest_dsr1.text import by_numbers, shown_path

if TYPE_CHECKING:
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.study.record import StudyRecord


@dataclass(eq=False, repr=False)  # every pytest run imports this module
class SavedStudy:
    """A search or pairs of an earlier session.

    Attributes:
        path: the file of its record.
        record: its runs.
    """

    path: Path
    record: StudyRecord

    @property
    def folders(self) -> set[str]:
        """The folders of its runs."""
        return {*(run.folder for run in self.record.runs if run.folder), self.record.first} - {""}


@dataclass(eq=False, repr=False)
class Replay:
    """What is judged again, by profile.

    Attributes:
        runs: the runs that targets and answers judge.
        searches: the searches.
        pairs: the comparisons in pairs.
        notes: what named folders of results have and is not judged.
    """

    runs: dict[str, Measurement] = field(default_factory=dict)
    searches: dict[str, SavedStudy] = field(default_factory=dict)
    pairs: dict[str, SavedStudy] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The profiles, in order."""
        return tuple(dict.fromkeys((*self.runs, *self.searches)))

    def files(self) -> dict[Path, str]:
        """Return the file of each scenario as it ran, with its path in test ids.

        Raises:
            UserError: the scenario of a search was not kept.
        """
        return dict(self._file(name) for name in self.names)

    def _file(self, name: str) -> tuple[Path, str]:
        from datetime import datetime

        from pytest_dsr1.study.record import scenario_of

        run, search = self.runs.get(name), self.searches.get(name)
        if search is None or (run and datetime.fromisoformat(run.started_utc) > search.record.began):
            assert run is not None
            return run.folder / "scenario.yaml", run.test_id_prefix
        kept = scenario_of(search.path)
        if not kept.is_file():
            raise UserError(
                f"{search.path}: the scenario is not next to it in {kept.name}; name it with "
                f"--dsr1-profile={name}"
            )
        return kept, search.record.place


def replayed(names: Iterable[str], results: Path, base: Path) -> Replay:
    """Return the saved results that a person names; each is loaded once.

    Args:
        names: of each, a result's folder, a profile for its newest result, a glob of either, a folder of
            results for the newest one of each profile, or the record of a search or of pairs.
        results: the folder of the profiles' results.
        base: the folder that a relative path starts from.

    Raises:
        UserError: a name means no saved result, none can be judged, or two results have the same profile.
    """
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.study.record import SEARCH

    found: dict[Path, Measurement] = {}
    replay = Replay()
    for name in names:
        profiles = _in_folder_of_results(base / name, replay.notes)
        for one in [name] if profiles is None else profiles:
            folders, studies = _named(one, results, base)
            for kind, study in studies:
                of_kind = replay.searches if kind == SEARCH else replay.pairs
                known = of_kind.setdefault(study.record.profile, study)
                _refuse_two(study.record.profile, known.path, study.path)
            for each in folders:
                folder = Path(os.path.abspath(each))  # noqa: PTH100 - not through links
                if folder not in found:
                    found[folder] = load(folder)
    for saved in found.values():
        profile = saved.scenario.name
        _refuse_two(profile, replay.runs.setdefault(profile, saved).folder, saved.folder)
    if not replay.names:
        raise UserError("\n".join(replay.notes))
    return replay


def _refuse_two(profile: str, one: Path, other: Path) -> None:
    if one != other:
        raise UserError(
            f"--dsr1-replay: {shown_path(one)} and {shown_path(other)} are both results of {profile}; a run "
            "judges one result of a profile: give one of them, or the profile's name for its newest result"
        )


_Studies = list[tuple[str, SavedStudy]]


def _named(name: str, results: Path, base: Path) -> tuple[list[Path], _Studies]:
    """Return the folders of runs that a name means, and the searches and pairs, each with its kind."""
    from pytest_dsr1.study.record import PAIRS, SEARCH, read

    named = base / name
    kind = next((each for each in (SEARCH, PAIRS) if named.name.startswith(f"{each}-")), None)
    if kind is not None and named.is_file():
        study = SavedStudy(named, read(named))
        return ([] if kind == SEARCH else [_judged(study)]), [(kind, study)]
    profiles = _profiles(name, named, results)
    studies: _Studies = [(SEARCH, each) for each in map(_newest_search, profiles) if each is not None]
    folders = _runs(name, named, profiles, results, base)
    for number, folder in enumerate(folders):
        if (pairs := _pairs_of(folder)) is not None:
            studies.append((PAIRS, pairs))
            if folder.parent in profiles:  # its newest run may be of the new side
                folders[number] = _judged(pairs)
    return folders, studies


def _profiles(name: str, named: Path, results: Path) -> list[Path]:
    """Return the folders of profiles that a name means; none if it means a run."""
    if (named / "measurement.json").exists():
        return []
    if _is_profile(named):
        return [named]
    folders = sorted(results.glob("*"), key=lambda folder: by_numbers(folder.name))
    return [each for each in folders if each.is_dir() and fnmatchcase(each.name, name)]


def _in_folder_of_results(folder: Path, notes: list[str]) -> list[str] | None:
    """Return the profiles with complete results in a folder of results; None if it is another folder.

    Args:
        folder: the folder.
        notes: get a sentence for each profile without a complete result.
    """
    if (folder / "measurement.json").exists() or _is_profile(folder):
        return None
    profiles = [each for each in folder.glob("*/") if _is_profile(each)]
    if not profiles:
        return None
    complete = [each for each in profiles if _is_complete(each)]
    notes += [
        f"--dsr1-replay: {shown_path(each)} has no complete result, so it is left out"
        for each in sorted(set(profiles).difference(complete))
    ]
    return sorted(map(str, complete), key=by_numbers)


def _is_profile(folder: Path) -> bool:
    return _has_runs(folder) or _newest_search(folder) is not None


def _is_complete(profile: Path) -> bool:
    """Return whether something in the folder of a profile can be judged."""
    from pytest_dsr1.measurement.store import newest

    return newest(profile) is not None or _newest_search(profile) is not None


def _has_runs(profile: Path) -> bool:
    return any(profile.glob("*/measurement.json"))


def _runs(name: str, named: Path, profiles: list[Path], results: Path, base: Path) -> list[Path]:
    """Return the folders of the runs that a name means; none if it means searches alone."""
    from pytest_dsr1.measurement.finding import find
    from pytest_dsr1.measurement.store import newest

    if profiles == [named]:
        run = newest(named)
        if run is not None or _newest_search(named) is not None:
            return [] if run is None else [run]
    elif profiles and all(_newest_search(each) and not _has_runs(each) for each in profiles):
        return []
    return find(name, results, base)


def _newest_search(profile: Path) -> SavedStudy | None:
    from pytest_dsr1.study.record import SEARCH, newest

    found = newest(profile.parent, profile.name, SEARCH)
    return SavedStudy(*found) if found else None


def _pairs_of(folder: Path) -> SavedStudy | None:
    """Return the pairs that a run was made for, if any."""
    from pytest_dsr1.study.record import PAIRS, newest_first

    path = Path(os.path.abspath(folder))  # noqa: PTH100 - not through links
    studies = (SavedStudy(*each) for each in newest_first(path.parent.parent, path.parent.name, PAIRS))
    return next((each for each in studies if str(path) in each.folders), None)


def _judged(pairs: SavedStudy) -> Path:
    """Return the run that other tests than ``pair[...]`` judge.

    Raises:
        UserError: no run of the old side counts.
    """
    old = (run.folder for run in pairs.record.runs if run.point == "old" and not run.why)
    folder = pairs.record.first or next(old, "")
    if not folder:
        raise UserError(f"{pairs.path}: no start of the old side counts, so there is nothing to judge")
    return Path(folder)
