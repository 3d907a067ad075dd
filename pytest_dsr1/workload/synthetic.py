"""Synthetic datasets: random token ids, the same bytes for the same inputs on every machine.

They follow the published procedure, ``prepare_dataset.py token-norm-dist``, with three differences:

- numpy's distributions may change between versions. So everything is made from the raw 64-bit integers of
  PCG64, whose stream numpy guarantees, by integer arithmetic and by floating-point operations that IEEE 754
  defines to the last bit.
- Ids are drawn one by one, so a prompt can contain an id twice, from 2 to ``vocab_size - 1``: 0 and 1 begin
  and end a sequence of DeepSeek's tokenizer.
- Every id with its comma is padded with spaces, which JSON allows, to 8 bytes (4 for the smallest
  vocabularies), so that text is made by looking up machine words.

In a trace with ``hash_ids`` the token ids are a function of seed, hash id and position: equal hash ids give
equal tokens.

    {"task_id":0,"input_ids":[  91772, 121078,    513],"output_tokens":2048}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.scenario import Dataset, Length, Load, Uniform
from pytest_dsr1.workload.arrivals import BLOCK_TOKENS, read_trace
from pytest_dsr1.workload.workload import LONGEST_SEQUENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_dsr1.arrays import Floats, Indices

FORMAT_VERSION = 1
"""The version of the format; it changes whenever the same inputs give other bytes."""

Progress = Callable[[int, int], None]
"""A function called with the number of written requests and of all requests."""

_FIRST_ID = 2
_LARGEST_VOCABULARY = 10**7
_TOKENS_A_BLOCK = 1 << 17
_NORMAL_TERMS = 48
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio

_HEAD = b'{"task_id":%d,"input_ids":['
_TAIL = b'],"output_tokens":%d}\n'


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of each request, as int64 arrays of shape (requests,).

    Attributes:
        blocks: for a trace, the hash ids of each request (:class:`TraceRequest`); else empty.
    """

    inputs: Indices
    outputs: Indices
    blocks: tuple[tuple[int, ...], ...] = ()


def draw_lengths(dataset: Dataset, load: Load) -> Lengths:
    """Return the lengths of all requests.

    Raises:
        InvalidRunError: a length is larger than any model takes, or ``vocab_size`` leaves no id to draw.
    """
    if not _FIRST_ID < dataset.vocab_size <= _LARGEST_VOCABULARY:
        raise InvalidRunError(
            f"dataset.vocab_size is {dataset.vocab_size:,}, expected {_FIRST_ID + 1} to "
            f"{_LARGEST_VOCABULARY:,} (DeepSeek-R1: 129,280); ids 0 and 1 begin and end a sequence and are "
            "not drawn"
        )
    if isinstance(load.arrival, TraceArrival):
        return _trace_lengths(load, load.arrival)
    return Lengths(
        inputs=_lengths("input_tokens", dataset.input_tokens, load.num_requests, dataset.seed, stream=1),
        outputs=_lengths("output_tokens", dataset.output_tokens, load.num_requests, dataset.seed, stream=2),
    )


def _trace_lengths(load: Load, arrival: TraceArrival) -> Lengths:
    import numpy as np

    trace = read_trace(Path(arrival.path), load.num_requests)
    return Lengths(
        inputs=np.array([request.input_tokens for request in trace], dtype=np.int64),
        outputs=np.array([request.output_tokens for request in trace], dtype=np.int64),
        blocks=tuple(request.blocks for request in trace),
    )


def content_key(dataset: Dataset, load: Load) -> str:
    """Return the SHA-256, in hex, of everything that determines the bytes of the file."""
    inputs = {
        "format": FORMAT_VERSION,
        "requests": load.num_requests,
        **dataset.model_dump(include={"input_tokens", "output_tokens", "seed", "vocab_size"}),
    }
    if isinstance(load.arrival, TraceArrival):
        lengths = _trace_lengths(load, load.arrival)
        inputs |= {"inputs": lengths.inputs.tolist(), "outputs": lengths.outputs.tolist()}
        inputs["hash_ids"] = lengths.blocks
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def synthetic_bytes(dataset: Dataset, load: Load) -> int:
    """Return the exact size in bytes of the file that :func:`write_synthetic` makes."""
    lengths = draw_lengths(dataset, load)
    frame = len(_HEAD % 0) - 1 + len(_TAIL % 0) - 1 - 1  # without numbers (see below) and the last comma
    digits = sum(len(str(i)) for i in range(load.num_requests))
    digits += sum(len(str(n)) for n in lengths.outputs.tolist())
    return int(lengths.inputs.sum()) * _width(dataset) + load.num_requests * frame + digits


def write_synthetic(dataset: Dataset, load: Load, path: Path, progress: Progress | None = None) -> None:
    """Write the file in bounded memory, not atomically.

    A block is made while another thread writes the previous one; writing releases the interpreter lock.

    Raises:
        InvalidRunError: see :func:`draw_lengths`.
        OSError: the disk is full, or the folder is not writable.
    """
    lengths = draw_lengths(dataset, load)
    with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as writer:
        written = writer.submit(_write_all, file.fileno(), b"")
        for done, block in _blocks(dataset, lengths):
            written.result()
            written = writer.submit(_write_all, file.fileno(), block)
            if progress is not None:
                progress(done, load.num_requests)
        written.result()


def _write_all(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _blocks(dataset: Dataset, lengths: Lengths) -> Iterator[tuple[int, bytes]]:
    """Yield the number of complete requests, and the next piece of the file, about a megabyte."""
    table = _table(dataset)
    texts = _token_texts(dataset, table)
    key = int(_generator(dataset.seed, stream=4).random_raw())
    width = _width(dataset)
    text = memoryview(b"")
    parts: list[bytes | memoryview] = []
    hash_ids = lengths.blocks or ((),) * len(lengths.inputs)
    for i, (inputs, outputs, blocks) in enumerate(
        zip(lengths.inputs.tolist(), lengths.outputs.tolist(), hash_ids, strict=True)
    ):
        parts.append(_HEAD % i)
        needed = inputs * width
        if blocks:
            yield i, b"".join([*parts, _text(table, _block_ids(key, blocks, inputs, len(table)))[:-1]])
            parts = [_TAIL % outputs]
            continue
        while needed > len(text):
            parts.append(text)
            needed -= len(text)
            yield i, b"".join(parts)
            parts = []
            text = next(texts)
        parts.append(text[: needed - 1])  # without the comma of the last id
        parts.append(_TAIL % outputs)
        text = text[needed:]
    yield len(lengths.inputs), b"".join(parts)


def _token_texts(dataset: Dataset, table: NDArray[np.bytes_]) -> Iterator[memoryview]:
    """Yield an endless text of random ids, each ``_width`` bytes long with its comma."""
    generator = _generator(dataset.seed, stream=0)
    while True:
        yield _text(table, _below(len(table), _uint32(generator, _TOKENS_A_BLOCK)))


def _block_ids(key: int, blocks: tuple[int, ...], tokens: int, end: int) -> Indices:
    """Return ``tokens`` numbers below ``end``; each block has the beginning of the sequence of its hash id.

    The sequence is SplitMix64 (Steele, Lea and Flood, 2014), which can be computed from any position. The
    same function makes its seed from the hash id.
    """
    import numpy as np

    golden = np.uint64(_GOLDEN)
    seeds = _mixed(np.uint64(key) + np.array(blocks, dtype=np.uint64) * golden)
    positions = np.arange(1, BLOCK_TOKENS + 1, dtype=np.uint64) * golden
    draws = _mixed((seeds[:, np.newaxis] + positions).ravel()[:tokens])
    return _below(end, (draws >> np.uint64(32)).astype(np.uint32))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output for each state."""
    import numpy as np

    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _table(dataset: Dataset) -> NDArray[np.bytes_]:
    """Return the text of each id from ``_FIRST_ID`` on, ``_width`` bytes with its comma."""
    import numpy as np

    width = _width(dataset)
    texts = [b"%*d," % (width - 1, i) for i in range(_FIRST_ID, dataset.vocab_size)]
    return np.array(texts, dtype=f"S{width}")


def _text(table: NDArray[np.bytes_], numbers: Indices) -> memoryview:
    import numpy as np

    return table.take(numbers, mode="clip").view(np.uint8).data


def _width(dataset: Dataset) -> int:
    """Return the bytes per id with comma; numpy looks up 4 and 8 bytes much faster than other sizes."""
    return 4 if dataset.vocab_size <= 1000 else 8


def _lengths(key: str, length: Length, count: int, seed: int, stream: int) -> Indices:
    import numpy as np

    if isinstance(length, int):
        _refuse_endless(key, length)
        return np.full(count, length, dtype=np.int64)
    if isinstance(length, Uniform):
        _refuse_endless(key, length.maximum)
        span = length.maximum - length.minimum + 1
        return length.minimum + _below(span, _uint32(_generator(seed, stream), count))
    _refuse_endless(key, max(length.mean, length.stdev))
    drawn = np.ceil(length.mean + length.stdev * _standard_normal(_generator(seed, stream), count))
    _refuse_endless(key, drawn.max())
    return np.maximum(drawn, 1).astype(np.int64)


def _refuse_endless(key: str, tokens: float) -> None:
    if tokens > LONGEST_SEQUENCE:
        raise InvalidRunError(
            f"dataset.{key} gives requests of more than {LONGEST_SEQUENCE:,} tokens, too long for any model; "
            "DeepSeek-R1's longest sequence has 163,840 tokens"
        )


def _standard_normal(generator: np.random.PCG64, count: int) -> Floats:
    """Return sums of 48 uniform numbers, centered and scaled to mean 0 and variance 1.

    Their distribution function is within 0.0006 of the normal one. They are the same to the last bit on every
    machine, because the sums are integers; a logarithm or a cosine would depend on the math library.
    """
    import numpy as np

    sums = np.empty(count, dtype=np.float64)
    for start in range(0, count, _TOKENS_A_BLOCK):
        part = sums[start : start + _TOKENS_A_BLOCK]
        terms = _uint32(generator, part.size * _NORMAL_TERMS).reshape(part.size, _NORMAL_TERMS)
        part[:] = terms.sum(axis=1, dtype=np.uint64)
    middle = _NORMAL_TERMS * (2**32 - 1) / 2
    return (sums - middle) / 2**33  # 2**32 * sqrt(48 / 12)


def _generator(seed: int, stream: int) -> np.random.PCG64:
    """Return one of the independent streams of a seed; a negative seed counts as its two's complement."""
    import numpy as np

    return np.random.PCG64(np.random.SeedSequence([seed & (2**64 - 1), stream]))


def _uint32(generator: np.random.PCG64, count: int) -> NDArray[np.uint32]:
    """Return numbers uniform over 32 bits; the low half of each raw integer is first on every machine."""
    raw = generator.random_raw((count + 1) // 2)
    return raw.astype("<u8", copy=False).view("<u4")[:count]


def _below(end: int, draws: NDArray[np.uint32]) -> Indices:
    """Return numbers uniform over range(end), to within end / 2**32, from the upper half of a product."""
    import numpy as np

    product = np.multiply(draws, end, dtype=np.uint64)
    np.right_shift(product, 32, out=product)
    return product.view(np.int64)
