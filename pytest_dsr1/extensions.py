"""Plugins of pytest-dsr1: they add engines, metrics, preflight checks, clues and report formats.

The hooks are declared in :mod:`pytest_dsr1.hookspecs`. A plugin is a module with functions of those names. It
is found in three ways: our own modules below, installed packages with an entry point in the group
``pytest_dsr1``, and plugins of the running pytest (a ``conftest.py`` is one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

import pluggy

from pytest_dsr1.errors import UserError
from pytest_dsr1.text import plain

GROUP = "pytest_dsr1"
"""The group of entry points."""
_PREFIX = "pytest_dsr1_"
_SPECS = "pytest_dsr1.hookspecs"
OURS: Mapping[str, tuple[str, ...]] = {
    "pytest_dsr1_engines": (
        "pytest_dsr1.engines.tensorrt_llm.hooks",
        "pytest_dsr1.engines.transformers.hooks",
        "pytest_dsr1.engines.openai.hooks",
    ),
    "pytest_dsr1_checks": ("pytest_dsr1.machine.gpu.checks", "pytest_dsr1.machine.preflight"),
    "pytest_dsr1_reports": ("pytest_dsr1.reporting.formats",),
    "pytest_dsr1_clues": (
        "pytest_dsr1.diagnosis.start",
        "pytest_dsr1.diagnosis.model",
        "pytest_dsr1.diagnosis.load",
        "pytest_dsr1.diagnosis.kv_cache",
        "pytest_dsr1.diagnosis.options",
        "pytest_dsr1.diagnosis.gpus",
    ),
    "pytest_dsr1_metrics": ("pytest_dsr1.metrics.catalogue",),
}
"""Our own modules by the hook that each has; they are imported when that hook is called, not before."""
_CHANGED: list[Callable[[], object]] = []

_T = TypeVar("_T")


class _Manager(pluggy.PluginManager):
    """Takes every function whose name begins with ``pytest_dsr1_`` for a hook, as pytest does for its own."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if name.startswith(_PREFIX) and callable(getattr(plugin, name, None)):
            return pluggy.HookimplOpts(
                wrapper=False,
                hookwrapper=False,
                optionalhook=False,
                tryfirst=False,
                trylast=False,
                specname=None,
            )
        return None


@cache
def _manager() -> _Manager:
    manager = _Manager(GROUP)
    manager.add_hookspecs(import_module(_SPECS))
    for found in entry_points(group=GROUP):
        try:
            _register(manager, found.load(), found.name)
        except UserError:
            raise
        except Exception as error:
            raise broken(found.name, f"cannot be loaded: {error!r}") from error
    return manager


def register(plugin: object, name: str) -> bool:
    """Add a plugin, such as one of the running pytest. A plugin without our hooks is passed over.

    Args:
        plugin: a module, or an object with methods.
        name: what messages call it.

    Returns:
        Whether it was added; it is not where it is there already.

    Raises:
        UserError: it has a hook that does not exist, or a hook asks for an argument that does not exist.
    """
    is_new = any(hook.startswith(_PREFIX) for hook in dir(plugin)) and not _manager().is_registered(plugin)
    if is_new:
        _register(_manager(), plugin, name)
        try:
            _changed()
        except UserError:
            unregister(plugin)
            raise
    return is_new


def unregister(plugin: object) -> None:
    """Take away a plugin that :func:`register` has added."""
    _manager().unregister(plugin)
    _changed()


def on_change(act: Callable[[], object]) -> None:
    """Call ``act`` after each plugin that comes or goes later: what was made from values is out of date."""
    _CHANGED.append(act)


def _changed() -> None:
    for act in _CHANGED:
        act()


def values(hook: str, kind: type[_T]) -> Iterator[tuple[str, _T]]:
    """Yield what plugins give for a hook that lists values, each after its plugin's name; ours come first.

    Args:
        hook: its name.
        kind: the class of each value.

    Raises:
        UserError: a plugin fails, or gives something else; the message names the plugin.
    """
    calls = [(module, getattr(import_module(module), hook)) for module in OURS.get(hook, ())]
    calls += [(one.plugin_name, one.function) for one in getattr(_manager().hook, hook).get_hookimpls()]
    for name, call in calls:
        try:
            found = list(call())
        except Exception as error:
            raise broken(name, f"{hook} failed: {error!r}") from error
        for value in found:
            if not isinstance(value, kind):
                raise broken(name, f"{hook} gave {value!r}, expected {kind.__name__}")
            yield name, value


def _register(manager: _Manager, plugin: object, name: str) -> None:
    for hook in dir(plugin):
        if hook.startswith(_PREFIX) and not hasattr(manager.hook, hook):
            known = ", ".join(sorted(each for each in dir(manager.hook) if each.startswith(_PREFIX)))
            raise broken(name, f"has the hook {hook}, which does not exist; hooks are {known}")
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise broken(name, str(error)) from error
    except ValueError as error:
        raise broken(name, f"is registered twice: {error}") from error


def failure(name: str, what: str, error: Exception) -> str:
    """Return what to say of a function of a plugin that raised an error.

    Args:
        name: the plugin's.
        what: the function, for a person, such as ``its check fans``.
        error: what it raised.

    Raises:
        Exception: the error itself, where the plugin is one of ours.
    """
    if any(name in modules for modules in OURS.values()):
        raise error
    return str(broken(name, f"{what} failed: {error!r}"))


def broken(name: str, why: str) -> UserError:
    """Return the error of a plugin that does not work: one sentence that names it.

    Args:
        name: the plugin's.
        why: what is wrong; may be text of others.
    """
    return UserError(f"the pytest-dsr1 plugin {plain(name)} is broken: {plain(why, 500)}")
