"""Exceptions whose text is the whole message: they are shown to the user without a traceback.

Also what to do when a block fails for any reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Dsr1Error(Exception):
    """A problem that the user must solve: what is wrong, where, what was expected, and what to do next."""


class UserError(Dsr1Error):
    """A request cannot be understood: an option, a scenario file, a name."""


class IncompleteError(UserError):
    """A saved result has no measurement: its run failed, was killed, or is still in progress."""


class BrokenPluginError(UserError):
    """A plugin of a third party does not work; the message names it."""


class InvalidRunError(Dsr1Error):
    """The run does not count (verdict INVALID): wrong or throttled machine, failed engine, broken input."""


class EndedError(Dsr1Error):
    """Something that is not ours ended the run, such as a plugin's time limit (INVALID; never repeated)."""


class EngineError(InvalidRunError):
    """The engine did not deliver a complete measurement."""


class ReferencesError(Dsr1Error):
    """References or recorded runs cannot be trusted: damaged, edited, of another scenario or time."""


class NoReferenceError(Dsr1Error):
    """There is nothing to compare with (verdict NO REFERENCE): no accepted references, or too few."""


@contextmanager
def on_failure(end: Callable[[], object]) -> Iterator[None]:
    """Call ``end`` if the block fails: the state of what the block used is then unknown."""
    try:
        yield
    except BaseException:
        end()
        raise
