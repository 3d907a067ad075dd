"""Plugins of pytest-dsr1: they add engines, metrics, preflight checks, clues and report formats.

The hooks are declared in :mod:`pytest_dsr1.hookspecs`. A plugin is a module with functions of those names.
Three kinds are found: our own modules below, installed packages with an entry point in the group
``pytest_dsr1``, and plugins of the running pytest (a ``conftest.py`` is one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import NamedTuple, TypeVar, cast

import pluggy

from pytest_dsr1.errors import BrokenPluginError, Dsr1Error, UserError
from pytest_dsr1.text import plain
from pytest_dsr1.typed_fields import wrong_fields

GROUP = "pytest_dsr1"
"""The group of entry points."""
_PREFIX = "pytest_dsr1_"


class Hook(NamedTuple):
    """A hook, with which plugins declare values of one class.

    Modules and classes are named, not imported: they are above this module, and take time to import.

    Attributes:
        what: one of the values, in messages.
        kind: their class.
        name: the attribute with a value's name, which no other value may have.
        ours: our own modules that implement the hook.
    """

    what: str
    kind: str
    name: str
    ours: tuple[str, ...]


HOOKS: Mapping[str, Hook] = {
    "pytest_dsr1_checks": Hook(
        "check",
        "pytest_dsr1.machine.preflight.check:Check",
        "name",
        (
            "pytest_dsr1.machine.preflight.gpus",
            "pytest_dsr1.machine.preflight.fleet",
            "pytest_dsr1.machine.preflight.host",
        ),
    ),
    "pytest_dsr1_clues": Hook(
        "clue",
        "pytest_dsr1.diagnosis.clues:Clue",
        "key",
        (
            "pytest_dsr1.diagnosis.start",
            "pytest_dsr1.diagnosis.model",
            "pytest_dsr1.diagnosis.load",
            "pytest_dsr1.diagnosis.kv_cache",
            "pytest_dsr1.diagnosis.options",
            "pytest_dsr1.diagnosis.gpus",
        ),
    ),
    "pytest_dsr1_engines": Hook(
        "engine",
        "pytest_dsr1.engines.protocol:EngineSpec",
        "name",
        (
            "pytest_dsr1.engines.tensorrt_llm.hooks",
            "pytest_dsr1.engines.transformers.hooks",
            "pytest_dsr1.engines.openai.hooks",
        ),
    ),
    "pytest_dsr1_metrics": Hook(
        "metric", "pytest_dsr1.metrics.registry:Metric", "name", ("pytest_dsr1.metrics.catalogue",)
    ),
    "pytest_dsr1_reports": Hook(
        "report format",
        "pytest_dsr1.reporting.formats:ReportFormat",
        "suffix",
        ("pytest_dsr1.reporting.hooks",),
    ),
}
"""Every hook. Our own modules are imported only when the hook is called."""
FAULTS = (Exception, SystemExit)
"""What a plugin may raise by mistake. pytest's own outcomes, such as a timeout, and Ctrl-C pass through."""
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
    for entry_point in entry_points(group=GROUP):
        try:
            _register(manager, entry_point.load(), entry_point.name)
        except UserError:
            raise
        except FAULTS as error:
            raise broken(entry_point.name, f"it cannot be loaded: {shown(error)}") from error
    return manager


def register(plugin: object, name: str) -> bool:
    """Add a plugin, such as one of the running pytest. A plugin without our hooks is ignored.

    Args:
        plugin: a module, or an object with methods.
        name: its name in messages.

    Returns:
        Whether it was added; False if it was there already.

    Raises:
        UserError: it has a hook that does not exist, or a hook with an argument.
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
    _declared.cache_clear()
    for act in _CHANGED:
        act()


def _register(manager: _Manager, plugin: object, name: str) -> None:
    if manager.has_plugin(name):
        raise broken(name, "another plugin has the same name: rename or uninstall one of them")
    if other := manager.get_name(plugin):
        raise broken(name, f"it is the same module as the plugin {other}: remove one of the two entry points")
    manager.register(plugin, name)
    try:
        refuse_faulty_hooks(manager)
    except UserError:
        manager.unregister(plugin)
        raise


def refuse_faulty_hooks(manager: pluggy.PluginManager) -> None:
    """Refuse functions that are named like a hook but cannot be called as one.

    Args:
        manager: of our own, or pytest's.

    Raises:
        UserError: such a hook does not exist, or a function has an argument; the message names the plugin.
    """
    for hook, caller in vars(manager.hook).items():
        for one in caller.get_hookimpls() if hook.startswith(_PREFIX) else ():
            if hook not in HOOKS:
                known = ", ".join(HOOKS)
                raise broken(
                    one.plugin_name, f"it has the hook {hook}, which does not exist; hooks are {known}"
                )
            if one.argnames:
                arguments = ", ".join(one.argnames)
                raise broken(one.plugin_name, f"{hook} has the argument {arguments}, expected no argument")


def declared(hook: str, kind: type[_T]) -> Mapping[str, tuple[str, _T]]:
    """Return (plugin name, value) by the value's name, for all that plugins list with a hook; ours first.

    Args:
        hook: the name of the hook; it is called once.
        kind: the class of each value, or a base of it.

    Raises:
        UserError: a plugin fails, or returns another kind of value, or two values have the same name; the
            message names the plugins.
    """
    del kind  # it is for the type checker; `_declared` checks the values
    return cast("Mapping[str, tuple[str, _T]]", _declared(hook))


@cache
def _declared(hook: str) -> dict[str, tuple[str, object]]:
    what, kind, attribute, ours = HOOKS[hook]
    calls = [(module, getattr(import_module(module), hook)) for module in ours]
    if theirs := getattr(_manager().hook, hook, None):
        calls += [(one.plugin_name, one.function) for one in theirs.get_hookimpls()]
    found: dict[str, tuple[str, object]] = {}
    for plugin, call in calls:
        try:
            returned = call()
            values = list(returned) if _is_list(returned) else returned  # a generator may fail half-way
        except FAULTS as error:
            raise broken(plugin, f"{hook} failed: {shown(error)}") from error
        for value in listed(plugin, hook, values, resolve_name(kind)):
            try:
                name = getattr(value, attribute)
            except ValueError as error:
                raise broken(plugin, str(error)) from error
            if plugin not in ours:
                refuse_wrong_fields(plugin, f"its {what} {name}", value)
            if name in found:
                raise _declared_twice(f"{what} {name}", found[name][0], plugin)
            found[name] = plugin, value
    return found


def refuse_broken() -> None:
    """Call every hook, if there are plugins, so that a broken one is refused before anything runs.

    Raises:
        UserError: as :func:`declared`.
    """
    if _manager().get_plugins():
        for hook in HOOKS:
            _declared(hook)


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def listed(plugin: str, what: str, returned: object, kind: type[_T]) -> list[_T]:
    """Return what a plugin's function returned, if it is a list of the right values.

    Args:
        plugin: its name.
        what: the function, as a message names it.
        returned: by the function.
        kind: the class of each value.

    Raises:
        BrokenPluginError: it is not a list, or has another kind of value.
    """
    if not _is_list(returned):
        raise broken(plugin, f"{what} returned {shown(returned)}, expected a list of {kind.__name__}")
    values = list(cast("Iterable[object]", returned))
    for value in values:
        if not isinstance(value, kind):
            raise broken(plugin, f"{what} returned {shown(value)}, expected {kind.__name__}")
    return cast("list[_T]", values)


def refuse_wrong_fields(plugin: str, what: str, value: object) -> None:
    """Refuse a plugin's value if a field is not of its declared type.

    Args:
        plugin: its name.
        what: the value, as a message names it.
        value: a dataclass.

    Raises:
        BrokenPluginError: a field is wrong.
    """
    for name, found, expected in wrong_fields(value):
        raise broken(plugin, f"{what} has the {name} {shown(found)}, expected {expected}")


def _declared_twice(what: str, *plugins: str) -> BrokenPluginError:
    owners = ["pytest-dsr1" if is_ours(plugin) else f"the plugin {plain(plugin)}" for plugin in plugins]
    by = f", by {' and by '.join(owners)}" if owners[0] != owners[1] else f" by {owners[0]}"
    return BrokenPluginError(f"the {plain(what)} is declared twice{by}: rename or remove one of them")


def is_ours(plugin: str) -> bool:
    """Return whether this is the name of one of our own modules with hooks."""
    return any(plugin in hook.ours for hook in HOOKS.values())


def shown(value: object) -> str:
    """Return a value of a plugin as a message shows it; its own ``__repr__`` may fail."""
    try:
        return repr(value)
    except FAULTS:
        return f"an object of the class {type(value).__name__}"


def failure(name: str, what: str, error: BaseException) -> str:
    """Return the message about a plugin's function that raised an error.

    Args:
        name: the plugin's name.
        what: the function, as a message names it, such as ``its check fans``.
        error: the error it raised.

    Raises:
        BaseException: the error itself, if the plugin is one of ours.
    """
    if isinstance(error, BrokenPluginError):  # ours may have called another plugin
        return str(error)
    if is_ours(name):
        raise error
    return str(broken(name, f"{what} failed: {shown(error)}"))


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
    except FAULTS as error:
        raise kind(failure(name, what, error)) from error


def broken(name: str, why: str) -> BrokenPluginError:
    """Return the error of a plugin that does not work: one sentence that names it.

    Args:
        name: the plugin's name.
        why: what is wrong; may contain untrusted text.
    """
    return BrokenPluginError(f"the pytest-dsr1 plugin {plain(name)} is broken: {plain(why, 500)}")
