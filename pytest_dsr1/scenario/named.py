"""The one scenario that a command of ``pytest-dsr1`` names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import profiles
from pytest_dsr1.scenario.loading import load_all
from pytest_dsr1.scenario.schema.scenario import Scenario


def load_named(
    profile: str, suites: Sequence[str], overrides: Sequence[str], swept: Sequence[str] = ()
) -> Scenario:
    """Return the one scenario that a command of ``pytest-dsr1`` names by profile or by file.

    Args:
        profile: the name of a profile, or the path of a scenario file.
        suites: folders of scenarios, in addition to those that ship.
        overrides: see :func:`load_all`.
        swept: see there.

    Raises:
        UserError: the name matches no scenario or several, or the scenario cannot be used.
    """
    catalogue = profiles.discover([Path(folder) for folder in suites])
    named = Path(profile)
    paths = [named] if named.is_file() else catalogue.select(profile)
    found = [
        each
        for path in paths
        for each in load_all(path, overrides=overrides, swept=swept, catalogue=catalogue)
    ]
    if not named.is_file() and (patterns := catalogue.points(profile)):
        chosen = profiles.named([each.scenario.name for each in found], patterns[paths[0]])
        found = [each for each in found if each.scenario.name in chosen]
    if len(found) != 1:
        names = ", ".join(each.scenario.name for each in found[:3])
        raise UserError(f"{profile}: matches {len(found)} scenarios; name one of them, such as {names}")
    return found[0].scenario
