"""The loader of the site file; its mistakes are reported as those of a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_dsr1.scenario.problems import MistakeError, Problem, all_in_one
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.scenario.validation import validate_site
from pytest_dsr1.scenario.yaml.reader import parse, read
from pytest_dsr1.scenario.yaml.tree import Node, join_key
from pytest_dsr1.text import shown_path

OPTION = "--dsr1-site"
VARIABLE = "DSR1_SITE"
_WHAT = "site file"
_OURS = frozenset(
    (
        *("--mpi", "--nodes", "-N", "--ntasks", "-n", "--ntasks-per-node", "--distribution", "-m"),
        *("--relative", "-r", "--job-name", "-J", "--input", "-i", "--output", "-o", "--error", "-e"),
        "--container-workdir",
    )
)
"""Options of srun on which a run depends: its ranks, and where their output goes."""


def site_file(named: str | None, folder: Path, environ: Mapping[str, str]) -> Path | None:
    """Return the site file: that of ``--dsr1-site``, else that of DSR1_SITE; None without either.

    Args:
        named: the value of the option.
        folder: where a relative path starts.
        environ: the environment variables.
    """
    found = named or environ.get(VARIABLE)
    return folder / found if found else None


def load_site(path: Path | None) -> Site:
    """Return the site that a file describes; without a file, the defaults.

    Raises:
        UserError: the file cannot be used; the message lists every mistake with its position.
    """
    if path is None:
        return Site()
    problems: list[Problem] = []
    site: Site | None = None
    try:
        tree = parse(read(path, wanted="site"), shown_path(path), problems, wanted=_WHAT)
    except MistakeError as error:
        raise all_in_one(path, [*problems, error.problem], _WHAT) from None
    if isinstance(tree.value, dict):
        site, found = validate_site(tree)
        problems += [*found, *_variables(tree), *_taken(tree)]
    else:
        message = f"expected a mapping with the key `slurm`, found {tree.in_words()}"
        problems.append(Problem(tree.mark, "", message))
    if site is None or problems:
        raise all_in_one(path, problems, _WHAT)
    return site


def _variables(tree: Node) -> Iterator[Problem]:
    """Yield a problem for every variable; those of a launcher are for the shells of the ranks."""
    for path, _, node in tree.walk():
        if isinstance(node.value, str) and "${" in node.value and path[:2] != ("slurm", "launcher"):
            message = "variables (${...}) are not expanded in a site file; write the value itself"
            yield Problem(node.mark, join_key(path), message)


def _taken(tree: Node) -> Iterator[Problem]:
    """Yield a problem for every option of srun that a run sets itself."""
    for path, _, node in tree.walk():
        word = node.value
        if isinstance(word, str) and path[:2] == ("slurm", "srun"):
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            if name in _OURS:
                message = (
                    f"pytest-dsr1 gives srun its own {name}, and the last one counts: remove it (the MPI "
                    "type is slurm.mpi)"
                )
                yield Problem(node.mark, join_key(path), message)
