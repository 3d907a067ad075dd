"""The transformers engine's model on a device: random weights, a static KV cache, prefill and decode.

Only the worker imports this module, after it has found torch and transformers.

The requests of a batch are rows, padded on the right. Causal attention keeps padding out of every real
position, so prefill needs no mask. In decode each row has its own position, so rows may have different
lengths. The model's forward is transformers' own. Only the cache is ours, because transformers' static cache
has one position for all rows and changes between versions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import Tensor

_FORWARD = inspect.signature(transformers.DeepseekV3Model.forward).parameters
_CACHE = "cache" if "cache" in _FORWARD else "past_key_values"
"""The name of the KV cache argument of the model's forward; transformers 5.24 renamed it."""


def config_fields() -> frozenset[str]:
    """Return every field name that the installed transformers' `DeepseekV3Config` accepts."""
    declared = inspect.signature(transformers.DeepseekV3Config.__init__).parameters
    # All versions of transformers accept these two, but not all declare them.
    return frozenset(declared) - {"self", "kwargs"} | {"rope_theta", "rope_scaling"}


def build_model(config: Mapping[str, Any], *, seed: int, dtype: torch.dtype, device: torch.device) -> Any:
    """Return a `DeepseekV3ForCausalLM` with random weights, made on ``device`` (nothing is copied).

    Transformers draws the weights from a normal distribution with the standard deviation `initializer_range`,
    0.02, which keeps activations and logits finite at DeepSeek-R1's own sizes.
    """
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**config))
    finally:
        torch.set_default_dtype(before)
    return model.eval()  # type: ignore[no-untyped-call]


class SlotCache:
    """A static KV cache with one row per request and one slot per position.

    A step writes each row at its own slot.

    Attributes:
        rows: the row numbers, shape [batch].
        slots: for each row the slot that the next step writes, shape [batch].
    """

    def __init__(self, batch: int, length: int, device: torch.device) -> None:
        self.length = length
        self.rows = torch.arange(batch, device=device)
        self.slots = torch.zeros(batch, dtype=torch.long, device=device)
        self._layers: list[tuple[Tensor, Tensor]] = []

    def view(self, batch: int) -> SlotCache:
        """Return the first ``batch`` rows, in the same memory."""
        part = SlotCache.__new__(SlotCache)
        part.length, part.rows, part.slots = self.length, self.rows[:batch], self.slots[:batch]
        part._layers = [(keys[:batch], values[:batch]) for keys, values in self._layers]
        return part

    def allocate(self, like: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Allocate memory for all layers; ``like`` has each layer's keys and values, [*, heads, *, width]."""
        for pair in like:
            keys, values = (
                torch.zeros(
                    len(self.rows), x.shape[1], self.length, x.shape[3], dtype=x.dtype, device=x.device
                )
                for x in pair
            )
            self._layers.append((keys, values))

    def load(self, first_row: int, filled: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Copy the keys and values of a prefill to the rows from ``first_row`` on.

        ``filled`` has a pair per layer, each of shape [requests, heads, positions, width].
        """
        for own, pair in zip(self._layers, filled, strict=True):
            for buffer, x in zip(own, pair, strict=True):
                buffer[first_row : first_row + x.shape[0], :, : x.shape[2]] = x

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store one position of each row and return all slots; attention calls this."""
        all_keys, all_values = self._layers[layer_idx]
        all_keys[self.rows, :, self.slots] = keys[:, :, 0]
        all_values[self.rows, :, self.slots] = values[:, :, 0]
        return all_keys, all_values

    def get_seq_length(self, *_: Any) -> int:
        """Return 0: transformers 4.57 asks, but we pass the positions ourselves."""
        return 0


class Batch:
    """The state of one batch size: tokens and positions on the device, and the decode step.

    Attributes:
        history: the tokens made, by position, shape [batch, length].
        finite: whether every logit was finite so far, shape [].
    """

    def __init__(self, model: Any, cache: SlotCache) -> None:
        self._model = model
        self._cache = cache
        device = cache.rows.device
        self._tokens = torch.zeros(len(cache.rows), dtype=torch.long, device=device)
        self._positions = torch.arange(cache.length, device=device)
        self.history = torch.zeros(len(cache.rows), cache.length, dtype=torch.long, device=device)
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        self.step: Callable[[], None] = self._step

    @torch.no_grad()
    def prefill(self, first_row: int, inputs: Sequence[Sequence[int]]) -> None:
        """Process the inputs in the rows from ``first_row`` on and choose the first token of each."""
        device = self._cache.rows.device
        lengths = torch.tensor([len(ids) for ids in inputs])
        longest = int(lengths.max())
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in inputs])
        rows = slice(first_row, first_row + len(inputs))
        output, filled = _read(self._model, padded.to(device))
        lengths = lengths.to(device)
        last = output[torch.arange(len(inputs), device=device), lengths - 1]
        self._cache.load(first_row, filled)
        tokens = self._choose(self._model.lm_head(last))
        self._cache.slots[rows] = lengths
        self._tokens[rows] = tokens
        self.history[self._cache.rows[rows], lengths] = tokens

    @torch.no_grad()
    def _step(self) -> None:
        cache = self._cache
        output = self._model.model(
            input_ids=self._tokens[:, None],
            position_ids=cache.slots[:, None],
            attention_mask=(self._positions <= cache.slots[:, None])[:, None, None, :],
            use_cache=True,
            **{_CACHE: cache},
        ).last_hidden_state
        tokens = self._choose(self._model.lm_head(output[:, -1]))
        cache.slots.add_(1)
        self._tokens.copy_(tokens)
        self.history[cache.rows, cache.slots] = tokens

    def _choose(self, logits: Tensor) -> Tensor:
        self.finite.logical_and_(logits.isfinite().all())
        return logits.argmax(-1)

    def capture(self, *, fuse: bool) -> None:
        """Replace ``step`` with a CUDA graph of it; with ``fuse`` torch.compile fuses its kernels.

        Raises torch's own error if the model cannot be compiled or captured, and leaves ``step`` as it is.
        """
        step = torch.compile(self._step, fullgraph=True, dynamic=False) if fuse else self._step
        self._cache.slots.zero_()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # libraries must choose kernels and allocate workspace before the capture
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        self.step = graph.replay

    def distinct_experts(self) -> float:
        """Take one more step and return how many different experts it used, averaged over the MoE layers."""
        counts: list[int] = []
        with _routers_watched(self._model, counts):
            self._step()
        return sum(counts) / len(counts) if counts else 0.0


def make_batches(model: Any, sizes: Sequence[int], length: int, device: torch.device) -> dict[int, Batch]:
    """Return a `Batch` for each size; all share one cache of ``length`` slots."""
    cache = SlotCache(max(sizes), length, device)
    with torch.no_grad():
        _, filled = _read(model, torch.zeros(1, 2, dtype=torch.long, device=device))
    cache.allocate(filled)
    return {size: Batch(model, cache.view(size)) for size in sizes}


def _read(model: Any, input_ids: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return the last hidden states and each layer's keys and values.

    ``input_ids`` has the shape [requests, positions].
    """
    output = model.model(input_ids=input_ids, use_cache=True)
    return output.last_hidden_state, [(layer.keys, layer.values) for layer in getattr(output, _CACHE).layers]


@contextmanager
def _routers_watched(model: Any, counts: list[int]) -> Iterator[None]:
    """Append the number of different experts of each router call to ``counts``."""

    def watch(_module: Any, _inputs: Any, output: tuple[Tensor, ...]) -> None:
        # The order of the router's outputs depends on the version; only the expert numbers are integers.
        chosen = next(x for x in output if not x.is_floating_point())
        counts.append(chosen.unique().numel())  # type: ignore[no-untyped-call]

    hooks = [m.register_forward_hook(watch) for name, m in model.named_modules() if name.endswith("mlp.gate")]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
