"""Whether a software has been started on this node before: its first start compiles, and is slower for it.

Each start that is known is an empty file in the folder ``starts`` beside the journal, named by its key. So
there is nothing in a file that could be damaged, and processes that note starts at once do not meet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.setup.apply import Tell
from pytest_dsr1.machine.state_dir import state_dir
from pytest_dsr1.machine.values import FactValue

FOLDER = "starts"
_DECIDES = ("library.", "engine.", "option.engine.")
_DECIDES_TOO = ("driver", "cuda.driver", "container.image", "model.content")
_NODE = "gpu.uuids"


def start_key(facts: Mapping[str, FactValue]) -> str:
    """What decides what a start compiles, as 64 hexadecimal digits.

    Of the node (the set of its GPUs), the driver, the container, the libraries, the engine with its options,
    and the model. Two profiles that differ in load or dataset have one key.

    Args:
        facts: a measurement's fingerprint; the engine's versions are known after its start.
    """
    chosen = {key: value for key, value in facts.items() if key.startswith(_DECIDES) or key in _DECIDES_TOO}
    gpus = facts.get(_NODE)
    chosen[_NODE] = sorted(gpus) if isinstance(gpus, list) else gpus
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


class Starts:
    """The starts that were noted on this node.

    Where they cannot be read or noted a start counts as the first, which costs one more of them and nothing
    else; that is said, once.

    Args:
        environ: where the state folder is looked up.
        tell: shows a sentence to the person at once.
    """

    def __init__(self, environ: Mapping[str, str], tell: Tell) -> None:
        self._tell = tell
        self._told = False
        try:
            self._folder: Path | None = state_dir(environ) / FOLDER
        except InvalidRunError as error:
            self._folder = None
            self._lost(str(error))

    def seen(self, key: str) -> bool:
        """Whether a start with this key was noted."""
        if self._folder is None:
            return False
        try:
            (self._folder / key).stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._lost(f"{self._folder / key}: {error.strerror}")
            return False
        return True

    def note(self, key: str) -> None:
        """There was a start with this key."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            (self._folder / key).touch()
        except OSError as error:
            self._lost(f"{self._folder / key}: {error.strerror}")

    def _lost(self, why: str) -> None:
        if not self._told:
            self._told = True
            self._tell(
                f"the engine's starts on this node cannot be remembered, so the next run takes another "
                f"warm-up start: {why}"
            )
