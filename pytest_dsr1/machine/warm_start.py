"""Whether a start of an engine is like the starts after it, or a first one, which compiles and is slower.

Two things show a first start. The software has not been started on this node before: each start that is known
is an empty file in the folder ``starts`` beside the journal, named by its key, so that there is nothing in a
file that could be damaged, and processes that note starts at once do not meet. Or the start filled a compile
cache.

The engines' compilers keep what they built in folders of their own. They also write locks, logs, sources and
indices there, some of them at every start; what counts is compiled code alone, known by its suffix. No file
is opened, and files that are read, touched or written again as they were do not count.

========================== ======================================== =========================================
folder of                  named by                                 read in
========================== ======================================== =========================================
torch inductor             TORCHINDUCTOR_CACHE_DIR                  torch 2.13 _inductor/runtime/
                                                                    cache_dir_utils.py
torch extensions           TORCH_EXTENSIONS_DIR                     torch 2.13 utils/cpp_extension.py
Triton                     TRITON_CACHE_DIR, TRITON_HOME            triton python/triton/knobs.py
vLLM, its DeepGEMM too     VLLM_CACHE_ROOT                          vllm/envs.py, vllm/utils/deep_gemm.py
FlashInfer                 FLASHINFER_WORKSPACE_BASE                flashinfer/jit/env.py
DeepGEMM                   DG_JIT_CACHE_DIR                         DeepGEMM csrc/jit/compiler.hpp
... of TensorRT-LLM        TRTLLM_DG_CACHE_DIR                      TensorRT-LLM's deep_gemm/compiler.cuh
... one a rank             DG_JIT_CACHE_DIR, else in TMPDIR         TensorRT-LLM's main branch of 2026
... of SGLang              SGLANG_DG_CACHE_DIR                      sglang/srt/environ.py, older versions
SGLang                     SGLANG_CACHE_DIR, SGLANG_JIT_CACHE_DIR   sglang/srt/environ.py
TileLang                   TILELANG_CACHE_DIR                       tilelang/env.py
TVM FFI                    TVM_FFI_CACHE_DIR                        tvm_ffi's loader of C++ extensions
CuTe DSL                   CUTE_DSL_CACHE_DIR                       CUTLASS' jit cache helpers
========================== ======================================== =========================================

The CUDA driver's own cache (``~/.nv/ComputeCache``) is not among them: on an H200 with driver 580.159.04 each
of six starts of the same software put files there, the first and the sixth alike.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.setup.apply import Tell
from pytest_dsr1.machine.state_dir import state_dir
from pytest_dsr1.machine.values import FactValue

FOLDER = "starts"
_DECIDES = ("library.", "engine.", "option.engine.")
_DECIDES_TOO = ("driver", "cuda.driver", "container.image", "model.content")
_NODE = "gpu.uuids"

MOST_ENTRIES = 200_000
"""A folder with more is not walked to its end."""
_COMPILED = (".cubin", ".fatbin", ".ptx", ".so", ".o", ".mlir")
_NOT_IN_A_NAME = r'[\\/:*?"<>|]'


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compiled code in the caches.

    Attributes:
        sizes: by folder: bytes of each file with compiled code, by path. No folder, no files.
        too_large: folders of more than ``MOST_ENTRIES`` entries, of which nothing can be said.
    """

    sizes: Mapping[str, Mapping[str, int]]
    too_large: tuple[str, ...] = ()


def snapshot(environ: Mapping[str, str]) -> Snapshot:
    """What the caches hold now.

    Args:
        environ: the engine's environment.
    """
    sizes: dict[str, Mapping[str, int]] = {}
    too_large: list[str] = []
    for folder in {str(folder): None for folder in _folders(environ)}:
        found = _files(folder)
        if found is None:
            too_large.append(folder)
        elif found:
            sizes[folder] = found
    return Snapshot(sizes, tuple(too_large))


def filled(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """The folders in which compiled code was added, or grew.

    Of a folder that was too large to walk nothing is known, and it is not among them.
    """
    unknown = {*before.too_large, *after.too_large}
    return tuple(
        folder
        for folder, sizes in after.sizes.items()
        if folder not in unknown
        and any(size > before.sizes.get(folder, {}).get(path, 0) for path, size in sizes.items())
    )


def _folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where compilers put what they built."""
    home = _home(environ)
    caches = _at(environ, "XDG_CACHE_HOME", home / ".cache")
    temporary = Path(next(filter(None, map(environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp"))  # noqa: S108
    user = _user(environ)
    yield _at(
        environ, "TORCHINDUCTOR_CACHE_DIR", temporary / f"torchinductor_{re.sub(_NOT_IN_A_NAME, '_', user)}"
    )
    yield _at(environ, "TORCH_EXTENSIONS_DIR", caches / "torch_extensions")
    yield _at(environ, "TRITON_CACHE_DIR", _at(environ, "TRITON_HOME", home) / ".triton" / "cache")
    yield _at(environ, "VLLM_CACHE_ROOT", caches / "vllm")
    yield _at(environ, "FLASHINFER_WORKSPACE_BASE", home) / ".cache" / "flashinfer"
    yield _at(environ, "DG_JIT_CACHE_DIR", home / ".deep_gemm")
    yield _at(environ, "TRTLLM_DG_CACHE_DIR", home / ".tensorrt_llm")
    with suppress(OSError):
        yield from sorted(temporary.glob("deep_gemm_rank*_gpu*"))
    yield _at(environ, "SGLANG_DG_CACHE_DIR", home / ".cache" / "deep_gemm")
    sglang = _at(environ, "SGLANG_CACHE_DIR", home / ".cache" / "sglang")
    yield sglang
    yield _at(environ, "SGLANG_JIT_CACHE_DIR", sglang)
    yield _at(environ, "TILELANG_CACHE_DIR", home / ".tilelang" / "cache")
    yield _at(environ, "TVM_FFI_CACHE_DIR", home / ".cache" / "tvm-ffi")
    yield _at(environ, "CUTE_DSL_CACHE_DIR", temporary / user / "cutlass_python_cache")


def _at(environ: Mapping[str, str], variable: str, otherwise: Path) -> Path:
    named = environ.get(variable)
    return Path(named).expanduser() if named else otherwise


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def _user(environ: Mapping[str, str]) -> str:
    """As ``getpass.getuser`` in a process with this environment."""
    for name in filter(None, map(environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return f"uid_{os.getuid()}"


def _files(root: str) -> dict[str, int] | None:
    """Bytes of each file with compiled code below ``root``; None where there is too much to look at."""
    sizes: dict[str, int] = {}
    entries, folders = 0, [root]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as listed:  # there is none, or it is gone meanwhile
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
