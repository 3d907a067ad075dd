"""Warm starts: is an engine start like the later ones, or a first one, which compiles and is slower?

A start is a first one in two cases: this software was not started on this node before, or the start filled a
compile cache. Each known start is an empty file, named by its key, in the folder ``starts`` next to the
journal. An empty file cannot be damaged, and several processes can note starts at the same time.

Engines' compilers keep their output in folders of their own. They also write locks, logs, sources and indices
there, some of them at every start. Only compiled code counts, known by its suffix. No file is opened, and
files that are read, touched or rewritten unchanged do not count.

========================== ======================================== =========================================
folder of                  set by                                   found in
========================== ======================================== =========================================
torch inductor             TORCHINDUCTOR_CACHE_DIR                  torch 2.13 _inductor/runtime/
                                                                    cache_dir_utils.py
torch extensions           TORCH_EXTENSIONS_DIR                     torch 2.13 utils/cpp_extension.py
Triton                     TRITON_CACHE_DIR, TRITON_HOME            triton python/triton/knobs.py
FlashInfer                 FLASHINFER_WORKSPACE_BASE                flashinfer/jit/env.py
DeepGEMM                   DG_JIT_CACHE_DIR                         DeepGEMM csrc/jit/compiler.hpp
... one per rank           DG_JIT_CACHE_DIR, else in TMPDIR         TensorRT-LLM's main branch of 2026
TileLang                   TILELANG_CACHE_DIR                       tilelang/env.py
TVM FFI                    TVM_FFI_CACHE_DIR                        tvm_ffi's loader of C++ extensions
CuTe DSL                   CUTE_DSL_CACHE_DIR                       CUTLASS' jit cache helpers
========================== ======================================== =========================================

An engine's own compilers are in its settings (``EngineSettings.compile_caches``).

The CUDA driver's own cache (``~/.nv/ComputeCache``) is not included: on an H200 with driver 580.159.04 each
of six starts of the same software put files there, the sixth like the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import host
from pytest_dsr1.machine.state_dir import state_dir
from pytest_dsr1.machine.values import FactValue, Notify

if TYPE_CHECKING:
    from pytest_dsr1.scenario.schema.engine import EngineSettings

FOLDER = "starts"
_KEY_PREFIXES = ("library.", "engine.", "option.engine.")
_KEY_FACTS = ("driver", "cuda.driver", "container.image", "model.content")
_NODE = "gpu.uuids"

MOST_ENTRIES = 200_000
"""A folder with more is not searched to its end."""
_COMPILED = (".cubin", ".fatbin", ".ptx", ".so", ".o", ".mlir")
_NOT_IN_A_NAME = r'[\\/:*?"<>|]'


def start_key(facts: Mapping[str, FactValue]) -> str:
    """Return a hash of everything that decides what a start compiles, as 64 hexadecimal digits.

    This is the node, the driver, the container, the libraries, the engine with its options, and the model.
    Two profiles that differ only in load or dataset share a key. The node is the set of its GPUs. Without a
    GPU it is the boot: other machines may share the folder, and a container has a new host name each time.

    Args:
        facts: a measurement's fingerprint, after the start: only then the engine's versions are known.
    """
    chosen = {
        key: value for key, value in facts.items() if key.startswith(_KEY_PREFIXES) or key in _KEY_FACTS
    }
    gpus = facts.get(_NODE)
    chosen[_NODE] = sorted(gpus) if isinstance(gpus, list) else host.boot_id()
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


class Starts:
    """The engine starts noted on this node.

    If they cannot be read or noted, a start counts as a first one, which only costs another start. A message
    says so once.

    Args:
        environ: the environment variables that name the state folder.
        notify: shows a sentence to the user at once.
    """

    def __init__(self, environ: Mapping[str, str], notify: Notify) -> None:
        self._notify = notify
        self._warned = False
        try:
            self._folder: Path | None = state_dir(environ) / FOLDER
        except InvalidRunError as error:
            self._folder = None
            self._warn(str(error))

    def seen(self, key: str) -> bool:
        """Return whether a start with this key was noted."""
        if self._folder is None:
            return False
        try:
            (self._folder / key).stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._warn(f"{self._folder / key}: {error.strerror}")
            return False
        return True

    def note(self, key: str) -> None:
        """Note a start with this key."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            (self._folder / key).touch()
        except OSError as error:
            self._warn(f"{self._folder / key}: {error.strerror}")

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._notify(
                "engine starts on this node cannot be recorded, so the next run needs another warm-up start: "
                f"{why}"
            )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compiled code in the caches.

    Attributes:
        sizes: bytes of each file with compiled code, by folder and path; folders without any are left out.
        too_large: folders with more than ``MOST_ENTRIES`` entries, whose content is unknown.
    """

    sizes: Mapping[str, Mapping[str, int]]
    too_large: tuple[str, ...] = ()


def snapshot(environs: Iterable[Mapping[str, str]], engine: EngineSettings) -> Snapshot:
    """Return the compiled code in the caches now.

    Args:
        environs: the environment variables of each kind of the engine's processes.
        engine: the engine's settings, which know its own caches.
    """
    sizes: dict[str, Mapping[str, int]] = {}
    too_large: list[str] = []
    folders = (each for environ in environs for each in (*_folders(environ), *engine.compile_caches(environ)))
    for folder in dict.fromkeys(map(str, folders)):
        found = _files(folder)
        if found is None:
            too_large.append(folder)
        elif found:
            sizes[folder] = found
    return Snapshot(sizes, tuple(too_large))


def filled(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Return the folders in which compiled code was added or grew.

    Folders that were too large to search are left out, because their content is unknown.
    """
    unknown = {*before.too_large, *after.too_large}
    return tuple(
        folder
        for folder, sizes in after.sizes.items()
        if folder not in unknown
        and any(size > before.sizes.get(folder, {}).get(path, 0) for path, size in sizes.items())
    )


def _folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders where compilers put their output."""
    home, caches = home_folder(environ), user_caches(environ)
    temporary = Path(next(filter(None, map(environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp"))  # noqa: S108
    user = _user(environ)
    inductor = temporary / f"torchinductor_{re.sub(_NOT_IN_A_NAME, '_', user)}"
    yield folder_named(environ, "TORCHINDUCTOR_CACHE_DIR", inductor)
    yield folder_named(environ, "TORCH_EXTENSIONS_DIR", caches / "torch_extensions")
    triton = folder_named(environ, "TRITON_HOME", home) / ".triton" / "cache"
    yield folder_named(environ, "TRITON_CACHE_DIR", triton)
    yield folder_named(environ, "FLASHINFER_WORKSPACE_BASE", home) / ".cache" / "flashinfer"
    yield folder_named(environ, "DG_JIT_CACHE_DIR", home / ".deep_gemm")
    with suppress(OSError):
        yield from sorted(temporary.glob("deep_gemm_rank*_gpu*"))
    yield folder_named(environ, "TILELANG_CACHE_DIR", home / ".tilelang" / "cache")
    yield folder_named(environ, "TVM_FFI_CACHE_DIR", home / ".cache" / "tvm-ffi")
    yield folder_named(environ, "CUTE_DSL_CACHE_DIR", temporary / user / "cutlass_python_cache")


def folder_named(environ: Mapping[str, str], variable: str, otherwise: Path) -> Path:
    """Return the folder that an environment variable names, else another one."""
    named = environ.get(variable)
    return Path(named).expanduser() if named else otherwise


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return the home folder of a process with this environment."""
    return Path(environ.get("HOME") or Path.home())


def user_caches(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's caches."""
    return folder_named(environ, "XDG_CACHE_HOME", home_folder(environ) / ".cache")


def _user(environ: Mapping[str, str]) -> str:
    """Return what ``getpass.getuser`` returns in a process with this environment."""
    for name in filter(None, map(environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return f"uid_{os.getuid()}"


def _files(root: str) -> dict[str, int] | None:
    """Return the bytes of each file with compiled code below ``root``; None with too many entries."""
    sizes: dict[str, int] = {}
    entries, folders = 0, [root]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as listed:  # there is no such folder, or no longer
            for entry in listed:
                entries += 1
                if entries > MOST_ENTRIES:
                    return None
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.endswith(_COMPILED):
                    with suppress(FileNotFoundError):
                        sizes[entry.path] = entry.stat(follow_symlinks=False).st_size
    return sizes
