"""The option ``--peer NAME=PROGRAM``: the public tools that a benchmark runs beside ours."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Add the option, which may be repeated."""
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PROGRAM")


def chosen_peers(
    parser: argparse.ArgumentParser, options: argparse.Namespace, known: Mapping[str, Callable[[str], T]]
) -> list[T]:
    """Return the peers that were asked for, made from their programs; end with an error if one cannot run."""
    found = []
    for peer in options.peer:
        name, _, program = peer.partition("=")
        if name not in known or not shutil.which(program):
            parser.error(f"--peer {peer}: expected one of {', '.join(known)}, =, and an installed program")
        found.append(known[name](program))
    return found
