"""The option ``--dsr1-against``: the other side of a comparison, as changes or as another profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import SUFFIXES
from pytest_dsr1.scenario.overrides import Override, of_key, parse_override
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem, all_in_one
from pytest_dsr1.scenario.profiles import Catalogue
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.yaml.reader import parse, read
from pytest_dsr1.scenario.yaml.tree import node_of
from pytest_dsr1.text import shown_path

OPTION = "--dsr1-against"


@dataclass(frozen=True, slots=True)
class Against:
    """What the new side is.

    Attributes:
        profile: the file of another profile; None for the selected scenario itself.
        changes: the values that it has otherwise, in order.
    """

    profile: Path | None
    changes: tuple[Override, ...]

    def changes_for(self, old: Scenario) -> tuple[Override, ...]:
        """Return the changes of the new side; it must measure what the old side's gate names."""
        if self.profile is None or old.gated_metric is None:
            return self.changes
        mark = Mark(f"{OPTION} {shown_path(self.profile)}")
        return (*self.changes, Override(("gate", "metric"), node_of(old.gated_metric, mark)))


def read_against(texts: Sequence[str], catalogue: Catalogue, folder: Path) -> Against:
    """Return what the values of ``--dsr1-against`` name.

    Args:
        texts: each is ``KEY=VALUE``, a YAML file with a mapping of dotted keys to values, or the name of a
            profile.
        catalogue: the profiles.
        folder: where a relative path starts.

    Raises:
        UserError: all mistakes: no such profile, more than one, a file or a text that cannot be used.
    """
    problems: list[str] = []
    named: list[tuple[str, Path]] = []
    changes: list[Override] = []
    for text in texts:
        try:
            if "=" in text:
                changes.append(parse_override(text, OPTION))
            elif text.endswith(SUFFIXES):
                changes += _of_file(folder / text)
            elif (found := catalogue.find(text)) is not None:
                named.append((text, found))
            else:
                problems.append(
                    f"{OPTION} {text}: {catalogue.unknown(text)}; expected KEY=VALUE, a profile or a YAML "
                    "file"
                )
        except MistakeError as error:
            problems.append(str(error.problem))
        except UserError as error:
            problems.append(f"{OPTION}: {error}")
    if len(named) > 1:
        names = " and ".join(name for name, _ in named)
        problems.append(f"{OPTION}: expected at most one other profile, found {names}")
    if problems:
        raise UserError("\n".join(problems))
    return Against(named[0][1] if named else None, tuple(changes))


def _of_file(path: Path) -> list[Override]:
    """Return the changes of a file, with its lines as their positions.

    Raises:
        UserError: it cannot be read; or all mistakes of the file.
    """
    problems: list[Problem] = []
    found: list[Override] = []
    try:
        text = read(path, wanted="set of overrides")
        tree = parse(text, shown_path(path), problems, wanted="set of overrides")
    except MistakeError as error:
        raise UserError(str(error)) from None
    if not isinstance(tree.value, dict) or not tree.value:
        message = f"expected a mapping of dotted keys to values, found {tree.in_words()}"
        problems.append(Problem(tree.mark, "", message))
    else:
        for key, node in tree.value.items():
            mark: Mark = tree.keys.get(key, node.mark)
            try:
                found.append(of_key(key, node, mark))
            except MistakeError as error:
                problems.append(error.problem)
    if problems:
        raise all_in_one(path, problems, "set of overrides")
    return found
