"""The dialects: which of TensorRT-LLM's versions use the same names, and a scenario's options in those names.

The names are in :mod:`pytest_dsr1.engines.trtllm_options.names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_dsr1.engines.trtllm_options.names import (
    COMMAND_LINE,
    NOW_DEFAULT,
    OPTIONS,
    SWITCHED_ON,
    Name,
    Provenance,
    Version,
    version_text,
)
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.errors import UserError

RELEASED = 10_000
"""Stands for a release, which comes after its candidates."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The names of one version and the later ones, up to the next dialect.

    Attributes:
        name: the value of ``engine.dialect``. If names changed between the builds of a version, the dialect
            named by major and minor alone is the one for an unknown build.
        version: the first build.
        evidence: whether the names were read in declarations or inferred.
        source: the source of the names.
    """

    name: str
    version: Version
    evidence: Provenance
    source: str

    def __str__(self) -> str:
        return self.name


DIALECTS = (
    Dialect("0.18", (0, 18), "read", "options of V1 and V2; no --ep (#3583), which their own builds had"),
    Dialect("0.19", (0, 19), "read", "throughput.py of April 2025"),
    Dialect(
        "0.20",
        (0, 20),
        "read",
        "argument classes of 0.20; --eos_id (#3776) and the overlap scheduler on (b4e5df0e)",
    ),
    Dialect(
        "0.21", (0, 21), "read", "argument classes of 0.21, without pytorch_backend_config (#4603, #4890)"
    ),
    Dialect(
        "1.0.0rc4",
        (1, 0),
        "read",
        "release candidates up to this one: throughput.py 000a01de and the LLM API reference; V4 and V5",
    ),
    Dialect("1.0", (1, 0, 5), "inferred", "1.0.0rc4 with the argument classes of August 2025 (#5752)"),
    Dialect("1.1", (1, 1), "read", "throughput.py 56851033 (1.1 / 1.2rc); options file inferred from 1.0"),
    Dialect("1.2", (1, 2), "read", "as 1.1, with --config (#9104)"),
    Dialect("1.3", (1, 3), "read", "throughput.py 0ba687b7; right for all builds of 1.3"),
    Dialect("1.3.0rc27", (1, 3, 27), "read", "the same, with the reference page of 1.3.0rc27 (#12341)"),
    Dialect("1.4", (1, 4), "inferred", "1.3.0rc27 without the TensorRT backend (#15918, #18850)"),
)
"""From old to new."""

NEWEST = next(one for one in reversed(DIALECTS) if one.evidence == "read" and len(one.version) == 2)
"""The dialect for an unknown version: the newest that was read, right for every build of its version."""


_RELEASE = re.compile(
    r"\s*v?(?P<major>\d{1,4})\.(?P<minor>\d{1,4})(?!\d)(?:\.(?P<patch>\d{1,4})(?!\d))?"
    r"(?:[-_.]?rc[-_.]?(?P<candidate>\d{1,3})(?!\d)|(?P<released>\s*$|\+|\.post))?",
    re.IGNORECASE | re.ASCII,
)
"""The begin of a version. What follows may be any text of a vendor's own build, which PEP 440 refuses."""


def version_of(text: str) -> Version:
    """Return a version such as ``1.2``, ``1.2.1``, ``1.3.0rc5`` or ``1.2-custom`` as numbers.

    They are major and minor, then the release candidate, or ``RELEASED``. Text that does not say which build
    it is, such as ``1.3`` or ``1.3.0.dev1``, has only the first two.

    Raises:
        UserError: the text is not a version.
    """
    found = _RELEASE.match(text)
    if found is None:
        raise UserError(f"{text!r} is not a version of TensorRT-LLM; expected one such as 1.2")
    series = int(found["major"]), int(found["minor"])
    if int(found["patch"] or 0) or (found["patch"] and found["released"] is not None):
        return *series, RELEASED
    return series if found["candidate"] is None else (*series, int(found["candidate"]))


def dialect_of(version: str) -> Dialect:
    """Return the dialect of a version; the last dialect for newer versions.

    Raises:
        UserError: the text is not a version, or it is older than all dialects.
    """
    wanted = version_of(version)
    if len(wanted) == 2 and (named := [one for one in DIALECTS if one.name == version_text(wanted)]):
        return named[0]
    if wanted < DIALECTS[0].version:
        raise UserError(
            f"TensorRT-LLM {version} is older than the oldest version this plugin knows, {DIALECTS[0]}; "
            "use a newer TensorRT-LLM"
        )
    return next(dialect for dialect in reversed(DIALECTS) if dialect.version <= wanted)


def choose_dialect(asked: str | None, version: str | None) -> tuple[Dialect, str]:
    """Return the dialect for the installed ``version``, and a comment with the reason.

    Args:
        asked: the scenario's ``engine.dialect``, which takes precedence.
        version: the installed version; None if it is unknown.

    Raises:
        UserError: this plugin does not know ``asked`` or the version.
    """
    if asked:
        dialect = dialect_of(asked)
        installed = f"TensorRT-LLM {version} is installed" if version else "tensorrt_llm is not installed"
        return dialect, f"# dialect {dialect}, from engine.dialect; {installed}"
    if version:
        dialect = dialect_of(version)
        return dialect, f"# TensorRT-LLM {version} (installed), dialect {dialect} ({dialect.evidence})"
    return NEWEST, f"# newest known dialect {NEWEST}: tensorrt_llm is not installed"


def newer_than_known(version: str) -> str | None:
    """Return a warning for an installed version that is newer than all dialects, else None."""
    newest = DIALECTS[-1]
    if version_of(version)[:2] <= newest.version:
        return None
    return (
        f"TensorRT-LLM {version} is newer than the newest version that this plugin knows ({newest}); the "
        f"option names of {newest} were used"
    )


def translate(options: LlmApiOptions, dialect: Dialect) -> dict[str, Any]:
    """Return the content of the options file in the names of ``dialect``.

    Options without a name in it (:func:`inexpressible`) are left out.
    """
    content: dict[str, Any] = {}
    former = next((options for before, options in NOW_DEFAULT if dialect.version < before), {})
    for path, value in former.items():
        _put(content, path, value)
    for option, value in leaves_of(options):
        if name := name_of(option, dialect):
            for path, written in name.written(value):
                _put(content, path, written)
    return merged(content, options.unchecked or {})


def inexpressible(options: LlmApiOptions, dialect: Dialect) -> list[str]:
    """Return the options without a name in ``dialect``, each with the first version that has one."""
    return [
        f"engine.llm_api.{option} (available since {version_text(_names(option)[0].since)})"
        for option, _ in leaves_of(options)
        if name_of(option, dialect) is None
    ]


def cannot_express(scenario: str, dialect: Dialect, problems: Sequence[str]) -> UserError:
    """Return the error for options that ``dialect`` does not have."""
    return UserError(
        f"{scenario}: TensorRT-LLM {dialect} does not have {', '.join(problems)}; remove it from the "
        "scenario or use a newer TensorRT-LLM; if the detected version is wrong, set engine.dialect to the "
        "right one"
    )


def name_of(option: str, dialect: Dialect) -> Name | None:
    """Return the name of an option of the options file in ``dialect``; None if it has no name."""
    return next((name for name in reversed(_names(option)) if name.since <= dialect.version), None)


def _names(option: str) -> tuple[Name, ...]:
    return OPTIONS.get(option) or SWITCHED_ON[option]


def command_line_options(dialect: Dialect) -> frozenset[str]:
    """Return the command-line options of ``dialect``, for use when ``--help`` is not available."""
    return frozenset(option for option, name in COMMAND_LINE.items() if name.since <= dialect.version)


def next_to_try(key: str, dialect: Dialect) -> Dialect | None:
    """Return the dialect to try next after a key of the options file was rejected.

    Args:
        key: the last part of the rejected name.
        dialect: the dialect it was written in.

    Returns:
        The next newer dialect in which the option was renamed, or the last older one before it had this name.
        An adjacent dialect for a key without another name. None if there is no dialect left.
    """
    later: list[Version] = []
    earlier: list[Version] = []
    for names in OPTIONS.values():
        known = [name for name in names if name.since <= dialect.version]
        if known and key in known[-1].words:
            later += [name.since for name in names[len(known) :] if key not in name.words]
            earlier += [known[-1].since] if len(known) > 1 else []
    if later:
        return next(other for other in DIALECTS if other.version == min(later))
    before = max(earlier, default=dialect.version)
    older = [other for other in DIALECTS if other.version < before]
    newer = [other for other in DIALECTS if other.version > dialect.version]
    if earlier or not newer:
        return older[-1] if older else None
    return newer[0]


def leaves_of(options: LlmApiOptions) -> Iterator[tuple[str, Any]]:
    """Yield the checked options that have a value, by their newest names."""
    yield from _leaves(options.model_dump(exclude_none=True, exclude={"unchecked"}))


def merged(content: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; mappings that both have are merged, and other values of ``more`` count."""
    result = dict(content)
    for key, value in more.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = merged(dict(inner or {}), value) if both else value
    return result


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        block = any(name.startswith(f"{prefix}{key}.") for name in OPTIONS)
        if isinstance(value, dict) and block and (value or f"{prefix}{key}" not in SWITCHED_ON):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _put(content: dict[str, Any], path: str, value: object) -> None:
    *levels, last = path.split(".")
    for level in levels:
        content = content.setdefault(level, {})
    content[last] = value
