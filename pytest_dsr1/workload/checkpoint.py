"""The check of a checkpoint before any GPU time is spent: is it the scenario's, and is it complete?

No weights are read. Only the header of every shard is read; it has the names and positions of the tensors. So
the size of a file shows whether an interrupted download cut it off (the safetensors format: 8 bytes with the
length n of the header, n bytes of JSON, the tensors' data). 163 shards take well under a second.

The quantization is read in the same way as by TensorRT-LLM (``tensorrt_llm/_torch/model_config.py``,
``load_hf_quant_config`` and ``quantization/modelopt_config.py``). Three layouts exist:

- NVIDIA's ``hf_quant_config.json``: ``{"quantization": {"quant_algo": ..., "kv_cache_quant_algo": ...}}``;
- NVIDIA's newer, flat layout, also inside config.json: ``quant_method: modelopt...``,
  ``quant_algo`` and ``kv_cache_scheme``;
- DeepSeek's own inside config.json: ``quant_method: fp8`` and ``weight_block_size: [128, 128]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Model
from pytest_dsr1.storage.files import open_regular

_CONFIG = "config.json"
_QUANTIZATION = "hf_quant_config.json"
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"

_SHOWN = 3
_LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library itself."""
_LARGEST_POINTER = 1024
"""Bytes; by git-lfs's specification."""
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?size (\d+)\n")
_CACHED = re.compile(r"models--(.+)")
"""A model's folder in Hugging Face's cache; its name has `--` for the slash."""
_KV_CACHE_SCHEMES = {"float of 8 bits": "FP8", "float of 4 bits": "NVFP4", "int of 8 bits": "INT8"}


@dataclass(frozen=True, slots=True)
class Quantization:
    """The formats of the weights and of the KV cache: ``none``, TensorRT-LLM's name or a description."""

    weights: str
    kv_cache: str


class UnknownLayoutError(Exception):
    """The reason why a quantization cannot be read, as the end of a sentence that begins with the file."""


UNQUANTIZED = Quantization("none", "none")


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """Facts about the model that runs.

    Attributes:
        path: the checkpoint's folder; None for random weights.
        architecture: the architecture that config.json names.
        quantization: the quantization of the weights, in the scenario's words.
        kv_cache_quantization: the quantization of the KV cache, in the scenario's words.
        shards: the number of files with weights; 0 for random weights.
        total_bytes: their size together, headers included.
        content_key: SHA-256, in hex, of the configuration, the index and the shards' names and sizes (for
            random weights, of the architecture, seed, configuration and quantization). Never of the weights.
    """

    path: Path | None
    architecture: str
    quantization: str
    kv_cache_quantization: str
    shards: int
    total_bytes: int
    content_key: str


def check_checkpoint(model: Model) -> CheckpointFacts:
    """Check the folder of a checkpoint. Random weights and the model of a running server are not checked.

    Raises:
        InvalidRunError: the checkpoint is not usable; one message lists every problem.
    """
    if model.random_weights is not None or model.path is None:  # without a path, a server has the model
        return _without_folder(model)
    return _Check(Path(model.path), model).run()


def _without_folder(model: Model) -> CheckpointFacts:
    description = {"architecture": model.architecture, **model.model_dump(include={"random_weights"})}
    if model.random_weights is None:
        description["name"] = model.name
    elif model.quantization != "none":  # without this condition, recorded keys of BF16 weights would change
        description["quantization"] = model.quantization
    key = hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()
    return CheckpointFacts(
        None, model.architecture, model.quantization, model.kv_cache_quantization, 0, 0, key
    )


class _Check:
    """The check of one folder against one scenario; it collects every problem."""

    def __init__(self, path: Path, model: Model) -> None:
        self.path = path
        self.model = model
        self.problems: list[str] = []
        self.pointers: dict[str, int] = {}
        self.digest = hashlib.sha256()

    def run(self) -> CheckpointFacts:
        names = self._names()
        self._find_pointers(names)
        config = self._read(_CONFIG)
        if config is not None:
            self._architecture(config)
        quantization = self._quantization(config, has_own_file=_QUANTIZATION in names)
        shards = self._shard_names(names)
        sizes = self._shard_sizes(shards)
        if self.pointers:
            self.problems.append(self._pointers_found())
        if self.problems:
            raise self._error(self.problems)
        self.digest.update(json.dumps(sizes, sort_keys=True).encode())
        return CheckpointFacts(
            path=self.path,
            architecture=self.model.architecture,
            quantization=quantization.weights,
            kv_cache_quantization=quantization.kv_cache,
            shards=len(sizes),
            total_bytes=sum(sizes.values()),
            content_key=self.digest.hexdigest(),
        )

    def _names(self) -> set[str]:
        try:
            names = set(os.listdir(self.path))  # noqa: PTH208  # names alone, and the folder's own error
        except FileNotFoundError:
            raise self._error(
                [f"there is no such folder; correct model.path, or download it: {self._download()}"]
            ) from None
        except NotADirectoryError:
            raise self._error(["this is a file; expected a folder in model.path"]) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise self._error([f"the folder cannot be read: {_reason(error)}"]) from None
        if _CONFIG not in names and "snapshots" in names:
            raise self._error(
                [
                    "this is a folder of Hugging Face's cache; expected the folder of the checkpoint inside "
                    "snapshots"
                ]
            )
        return names

    def _find_pointers(self, names: set[str]) -> None:
        for name in sorted(names):
            file = self.path / name
            try:
                if file.is_file() and file.stat().st_size <= _LARGEST_POINTER:
                    found = _POINTER.match(file.read_bytes())
                    if found:
                        self.pointers[name] = int(found[1])
            except OSError:
                continue  # reported where the file is needed

    def _read(self, name: str) -> dict[str, object] | None:
        """Return a JSON object from a file of the folder; on failure add a problem and return None."""
        if name in self.pointers:
            return None  # reported with the other pointers
        try:
            with open_regular(self.path / name) as file:
                content = file.read()
            data = json.loads(content)
        except FileNotFoundError:
            self.problems.append(f"{name} is missing; is this the folder of a checkpoint?")
        except OSError as error:
            self.problems.append(f"{name} cannot be read: {_reason(error)}")
        except json.JSONDecodeError as error:
            place = f"{name}:{error.lineno}:{error.colno}"
            self.problems.append(f"{place}: not JSON: {error.msg}; download it again")
        except (ValueError, RecursionError) as error:
            self.problems.append(f"{name} is not usable JSON: {error}; download it again")
        else:
            if isinstance(data, dict):
                self.digest.update(content)
                return data
            self.problems.append(f"{name} is not a JSON object; download it again")
        return None

    def _architecture(self, config: dict[str, object]) -> None:
        found, expected = config.get("architectures"), self.model.architecture
        if found != [expected]:
            self.problems.append(
                f"{_CONFIG}: architectures is {json.dumps(found)}, the scenario expects "
                f"{json.dumps([expected])}; correct model.path or model.architecture"
            )

    def _quantization(self, config: dict[str, object] | None, *, has_own_file: bool) -> Quantization:
        """Return the checkpoint's quantization; like TensorRT-LLM, prefer hf_quant_config.json."""
        place = _QUANTIZATION if has_own_file else f"{_CONFIG}, quantization_config,"
        own = self._read(_QUANTIZATION) if has_own_file else None
        if (own is None) if has_own_file else (config is None):
            return UNQUANTIZED  # the file's problem is reported
        try:
            found = read_quantization(own if has_own_file else (config or {}).get("quantization_config"))
        except UnknownLayoutError as error:
            self.problems.append(f"{place} {error}: its quantization is unknown; download it again")
            return UNQUANTIZED
        for what, key, actual, expected in (
            ("quantization", "quantization", found.weights, self.model.quantization),
            (
                "KV cache quantization",
                "kv_cache_quantization",
                found.kv_cache,
                self.model.kv_cache_quantization,
            ),
        ):
            if actual.upper() != expected.upper():
                self.problems.append(
                    f"{place} says {what} {actual}, the scenario expects {expected}; name the right "
                    f"checkpoint in model.path, or correct model.{key} to {actual}"
                )
        return found

    def _shard_names(self, names: set[str]) -> list[str]:
        if _INDEX not in names:
            if _SINGLE in names:
                return [_SINGLE]
            self.problems.append(
                f"{_INDEX} is missing, so the shards are unknown; download it: {self._download()}"
            )
            return []
        index = self._read(_INDEX)
        if index is None:
            return []
        tensors = index.get("weight_map")
        if not isinstance(tensors, dict) or not tensors:
            self.problems.append(f"{_INDEX} has no `weight_map` from tensors to shards; download it again")
            return []
        shards = set(map(str, tensors.values()))
        strange = sorted(shard for shard in shards if shard != os.path.basename(shard) or not shard)  # noqa: PTH119
        if strange:
            self.problems.append(
                f"{_INDEX} names shards that are not file names: {_some(strange)}; download it again"
            )
            return []
        return sorted(shards)

    def _shard_sizes(self, shards: Sequence[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        missing: list[str] = []
        for shard in shards:
            if shard in self.pointers:
                continue
            try:
                sizes[shard] = self._shard_size(shard)
            except FileNotFoundError:
                missing.append(shard)
            except _WrongShardError as error:
                self.problems.append(f"{shard} {error}; download it again: {self._download(shard)}")
            except OSError as error:
                self.problems.append(f"{shard} cannot be read: {_reason(error)}")
        if missing:
            self.problems.append(
                f"{len(missing)} of {len(shards)} shards {'is' if len(missing) == 1 else 'are'} missing: "
                f"{_some(missing)}; download the rest: {self._download()}"
            )
        return sizes

    def _shard_size(self, shard: str) -> int:
        with open_regular(self.path / shard) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise _WrongShardError("is empty")
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise _WrongShardError("is not a safetensors file")
            header = file.read(length)
        try:
            tensors = json.loads(header)
            end = max(
                (tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__")
            )
            expected = 8 + length + int(end)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError):
            what = "is cut off within its header" if len(header) < length else "is not a safetensors file"
            raise _WrongShardError(what) from None
        if size != expected:
            raise _WrongShardError(f"has {size:,} bytes, but its header says {expected:,}")
        return size

    def _pointers_found(self) -> str:
        names = sorted(self.pointers)
        folder = shlex.quote(str(self.path))
        count = "1 file" if len(names) == 1 else f"{len(names)} files"
        size = sum(self.pointers.values()) / 2**30
        return (
            f"git-lfs pointers instead of {count} of {size:,.1f} GiB, probably from a clone without git-lfs "
            f"or with GIT_LFS_SKIP_SMUDGE=1: {_some(names)}; download the files: git lfs install && "
            f"git -C {folder} lfs pull"
        )

    def _download(self, *files: str) -> str:
        """Return the command that downloads what is missing, or again the files that are broken."""
        cached = _CACHED.fullmatch(self.path.parent.parent.name)
        if cached and self.path.parent.name == "snapshots":
            # A snapshot holds links into the cache, which keeps a broken file unless told otherwise.
            place = ["--revision", self.path.name, "--cache-dir", str(self.path.parents[2])]
            place += ["--force-download"] if files else []
            return shlex.join(["hf", "download", cached[1].replace("--", "/"), *files, *place])
        return shlex.join(["hf", "download", self.model.name, *files, "--local-dir", str(self.path)])

    def _error(self, problems: Sequence[str]) -> InvalidRunError:
        head = f"{self.path} is not a usable checkpoint of {self.model.name}:"
        return InvalidRunError("\n".join([head, *(f"  {problem}" for problem in problems)]))


class _WrongShardError(Exception):
    """The problem with a shard, as the end of a sentence that begins with its name."""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def read_quantization(config: object) -> Quantization:
    """Read the content of hf_quant_config.json, or of ``quantization_config`` in config.json.

    Args:
        config: the content; None for a checkpoint without quantization.

    Raises:
        UnknownLayoutError: the layout is not one of the three.
    """
    if config is None:
        return UNQUANTIZED
    if not isinstance(config, dict):
        raise UnknownLayoutError("is not an object")
    if "quantization" in config:
        inner = config["quantization"]
        if not isinstance(inner, dict):
            raise UnknownLayoutError("has a `quantization` that is not an object")
        return Quantization(_name(inner, "quant_algo"), _name(inner, "kv_cache_quant_algo"))
    method = config.get("quant_method")
    producer = config.get("producer")
    if str(method).lower().startswith("modelopt") or (
        isinstance(producer, dict) and producer.get("name") == "modelopt"
    ):
        return Quantization(_name(config, "quant_algo"), _kv_cache_scheme(config))
    if method == "fp8":
        blocks = config.get("weight_block_size")
        return Quantization(
            "FP8_BLOCK_SCALES" if blocks == [128, 128] else f"fp8 with weight_block_size {blocks}", "none"
        )
    if isinstance(method, str):
        return Quantization(method.upper(), "none")
    raise UnknownLayoutError("has neither `quantization` nor `quant_method`")


def _name(config: Mapping[str, object], key: str) -> str:
    name = config.get(key)
    if name is None:
        return "none"
    if not isinstance(name, str):
        raise UnknownLayoutError(f"has a `{key}` that is not a string")
    return name.upper()


def _kv_cache_scheme(config: Mapping[str, object]) -> str:
    if "kv_cache_scheme" not in config:
        return _name(config, "kv_cache_quant_algo")
    scheme = config["kv_cache_scheme"]
    if isinstance(scheme, dict):
        kind = f"{scheme.get('type')} of {scheme.get('num_bits')} bits"
        return _KV_CACHE_SCHEMES.get(kind, kind)
    return _name(config, "kv_cache_scheme")
