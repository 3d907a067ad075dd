"""Plugins of pytest-dsr1: they add engines, metrics, preflight checks, clues and report formats.

The hooks are declared in :mod:`pytest_dsr1.hookspecs`. A plugin is a module with functions of those names.
Three kinds are found: our own modules below, installed packages with an entry point in the group
``pytest_dsr1``, and plugins of the running pytest (a ``conftest.py`` is one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

import pluggy

from pytest_dsr1.errors import BrokenPluginError, Dsr1Error, UserError
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
    "pytest_dsr1_checks": ("pytest_dsr1.machine.preflight.gpus", "pytest_dsr1.machine.preflight.host"),
    "pytest_dsr1_reports": ("pytest_dsr1.reporting.hooks",),
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
"""Our own modules by hook; they are imported only when the hook is called."""
_CHANGED: list[Callable[[], object]] = []

_T = TypeVar("_T")


class _Manager(pluggy.PluginManager):
    """A manager for which each function named ``pytest_dsr1_...`` is a hook, like pytest's own."""

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
    for entry_point in entry_points(group=GROUP):
        try:
            _register(manager, entry_point.load(), entry_point.name)
        except UserError:
            raise
        except Exception as error:
            raise broken(entry_point.name, f"it cannot be loaded: {error!r}") from error
    return manager


def register(plugin: object, name: str) -> bool:
    """Add a plugin, such as one of the running pytest. A plugin without our hooks is ignored.

    Args:
        plugin: a module, or an object with methods.
        name: its name in messages.

    Returns:
        Whether it was added; False if it was there already.

    Raises:
        UserError: it has a hook, or a hook has an argument, that does not exist.
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
    """Remove a plugin that :func:`register` added."""
    _manager().unregister(plugin)
    _changed()


def on_change(act: Callable[[], object]) -> None:
    """Call ``act`` whenever a plugin is added or removed later, because values made before are outdated."""
    _CHANGED.append(act)


def _changed() -> None:
    for act in _CHANGED:
        act()


def values(hook: str, kind: type[_T]) -> Iterator[tuple[str, _T]]:
    """Yield (plugin name, value) for the values that plugins list with a hook; ours come first.

    Args:
        hook: the name of the hook.
        kind: the class of each value.

    Raises:
        UserError: a plugin fails, or returns another kind of value; the message names the plugin.
    """
    calls = [(module, getattr(import_module(module), hook)) for module in OURS.get(hook, ())]
    calls += [(one.plugin_name, one.function) for one in getattr(_manager().hook, hook).get_hookimpls()]
    for name, call in calls:
        try:
            listed = list(call())
        except Exception as error:
            raise broken(name, f"{hook} failed: {error!r}") from error
        for value in listed:
            if not isinstance(value, kind):
                raise broken(name, f"{hook} returned {value!r}, expected {kind.__name__}")
            yield name, value


def _register(manager: _Manager, plugin: object, name: str) -> None:
    for hook in dir(plugin):
        if hook.startswith(_PREFIX) and not hasattr(manager.hook, hook):
            known = ", ".join(sorted(each for each in dir(manager.hook) if each.startswith(_PREFIX)))
            raise broken(name, f"it has the hook {hook}, which does not exist; hooks are {known}")
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise broken(name, str(error)) from error
    except ValueError as error:
        raise broken(name, f"it is registered twice: {error}") from error


def failure(name: str, what: str, error: Exception) -> str:
    """Return the message about a plugin's function that raised an error.

    Args:
        name: the plugin's name.
        what: the function, as a message names it, such as ``its check fans``.
        error: the error it raised.

    Raises:
        Exception: the error itself, if the plugin is one of ours.
    """
    if isinstance(error, BrokenPluginError):  # ours may have called another plugin
        return str(error)
    if any(name in modules for modules in OURS.values()):
        raise error
    return str(broken(name, f"{what} failed: {error!r}"))


@contextmanager
def named(name: str, what: str, kind: type[Dsr1Error] = BrokenPluginError) -> Iterator[None]:
    """Turn an unexpected error of the block, which calls a plugin, into a message that names the plugin.

    Args:
        name: the plugin's name.
        what: what is called, as a message names it.
        kind: the class of the new error.

    Raises:
        Dsr1Error: of ``kind``; or as the block raised it, because its message is complete.
        Exception: the error itself, if the plugin is one of ours.
    """
    try:
        yield
    except Dsr1Error:
        raise
    except Exception as error:
        raise kind(failure(name, what, error)) from error


def broken(name: str, why: str) -> BrokenPluginError:
    """Return the error of a plugin that does not work: one sentence that names it.

    Args:
        name: the plugin's name.
        why: what is wrong; may contain untrusted text.
    """
    return BrokenPluginError(f"the pytest-dsr1 plugin {plain(name)} is broken: {plain(why, 500)}")
