"""The child program of the probes: measures what the GPUs that CUDA shows it can do.

`python -m pytest_dsr1.machine.probe.measure` writes events (:mod:`pytest_dsr1.process.event_lines`), each as
soon as it is known:

* ``software``: the versions of ``torch`` and ``cuda``, and the ``model`` of each GPU;
* ``begin``: the ``names`` of the next probes, and ``limit_s``, after which they hang;
* ``probe``: a ``name`` of :data:`~pytest_dsr1.machine.probe.values.KINDS`, its ``values``, the ``gpus`` of
  each value by their position in CUDA, and the ``seconds`` it took;
* ``missing``: the ``names`` of probes that failed, and ``why``.

It needs torch, and pynvml for the SM clock under load. It changes no setting. Arguments are the names of
probes to measure, each with its group; without any, all are measured. With the argument ``cpu`` it copies
memory and reduces with gloo on the processors, for tests.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, permutations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pytest_dsr1.machine.probe import all_reduce
from pytest_dsr1.machine.probe.values import KINDS
from pytest_dsr1.process.worker import Events, first_line

if TYPE_CHECKING:
    import torch

    from pytest_dsr1.machine.gpu import nvml

Result = tuple[str, Sequence[float], Sequence[Sequence[int]]]
"""A probe's name, its values, and the GPUs of each value by position."""
Group = Callable[[], Iterator[Result]]
Work = Callable[[], object]

GIB, MIB = 1 << 30, 1 << 20
SIZE = 8192
"""Rows and columns of the matrices."""
ROUND_S = 0.3
"""The length of one round of products: power management needs about this long to react."""
MOST_REPETITIONS = 400
LEAST_ROUNDS = 3
"""The rounds until a clock can have settled, and those that are measured then."""
SETTLED, SETTLE_S = 0.005, 3.0
"""A clock has settled once two rounds differ by less than this share, or after these seconds."""
LOOK_S = 0.02
"""The time between two readings of the SM clock."""
RANKS_S = 90.0
"""The longest time for the processes of an all-reduce."""
GROUP_S = 40.0
"""The longest time for a group of probes, without such processes; the first also starts CUDA on all GPUs."""


def timed(count: int, works: Mapping[int, Work], look: Work | None = None) -> list[float]:
    """Repeat the work of some GPUs at the same time; return the median time of each, in s.

    Args:
        count: repetitions; with more than 500, CUDA would make us wait before all of them are started.
        works: what each GPU does, by its position.
        look: called every ``LOOK_S`` seconds while all of these GPUs work.
    """
    import torch

    make: Any = torch.cuda.Event
    marks = {device: [make(enable_timing=True) for _ in range(count + 1)] for device in works}
    # In turn, so that all GPUs begin at once.
    for repetition in range(count + 1):
        for device, work in works.items():
            with torch.cuda.device(device):
                if repetition:
                    work()
                marks[device][repetition].record()
    while look is not None and not any(own[-1].query() for own in marks.values()):
        look()
        time.sleep(LOOK_S)
    for own in marks.values():
        own[-1].synchronize()
    return [
        float(median(before.elapsed_time(after) for before, after in pairwise(own))) / 1e3
        for own in marks.values()
    ]


def memory(count: int) -> Iterator[Result]:
    """Copy and read 1 GiB within each GPU, all GPUs side by side."""
    import torch

    each = [[device] for device in range(count)]
    sources = [torch.randn(GIB // 4, device=f"cuda:{device}") for device in range(count)]
    targets = [torch.empty_like(source) for source in sources]
    copies = {device: partial(targets[device].copy_, sources[device]) for device in range(count)}
    timed(20, copies)
    yield "memory_bandwidth_gb_s", [2 * GIB / s / 1e9 for s in timed(200, copies)], each
    sums = {device: source.sum for device, source in enumerate(sources)}
    timed(20, sums)
    yield "memory_read_gb_s", [GIB / s / 1e9 for s in timed(200, sums)], each


def host_link(count: int, cpus: Sequence[frozenset[int] | None]) -> Iterator[Result]:
    """Copy 256 MiB from and to pinned memory of the host, one GPU at a time.

    The memory is taken next to the GPU: that of the other socket is slower, which is not the GPU's fault.
    """
    import torch

    size, mine = 256 * MIB, os.sched_getaffinity(0)
    kept: list[torch.Tensor] = []
    to_gpu: list[float] = []
    to_host: list[float] = []
    for device in range(count):
        near = (cpus[device] or mine) & mine
        os.sched_setaffinity(0, near or mine)
        try:
            with torch.cuda.device(device):
                host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        finally:
            os.sched_setaffinity(0, mine)
        there = torch.empty(size, dtype=torch.uint8, device=f"cuda:{device}")
        kept.append(host)  # else the next GPU would get the same memory
        for to, source, rates in ((there, host, to_gpu), (host, there, to_host)):
            copy = {device: partial(to.copy_, source, non_blocking=True)}
            timed(3, copy)
            rates += [size / s / 1e9 for s in timed(30, copy)]
    each = [[device] for device in range(count)]
    yield "host_to_gpu_gb_s", to_gpu, each
    yield "gpu_to_host_gb_s", to_host, each


def peers(count: int) -> Iterator[Result]:
    """Copy 256 MiB from each GPU to each other one, one pair at a time, then all GPUs in a ring at once."""
    import torch

    size = 256 * MIB
    sources, targets = (
        [torch.zeros(size, dtype=torch.uint8, device=f"cuda:{device}") for device in range(count)]
        for _ in range(2)
    )
    pairs = list(permutations(range(count), 2))
    rates: list[float] = []
    for one, other in pairs:
        # PyTorch copies in the stream of the GPU that sends.
        copy = {one: partial(targets[other].copy_, sources[one], non_blocking=True)}
        timed(2, copy)
        rates += [size / s / 1e9 for s in timed(20, copy)]
    yield "peer_gb_s", rates, pairs
    ring = {
        device: partial(targets[(device + 1) % count].copy_, sources[device], non_blocking=True)
        for device in range(count)
    }
    timed(2, ring)
    yield "peer_side_by_side_gb_s", [sum(size / s / 1e9 for s in timed(50, ring))], [range(count)]


def products(kind: str, device: int) -> Work:
    """Return a product of two random matrices in a number format: ``bf16`` or ``fp8``."""
    import torch

    one, other = (torch.randn(SIZE, SIZE, device=f"cuda:{device}", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)
    if kind == "bf16":
        return partial(torch.mm, one, other, out=out)
    scale = torch.ones((), device=f"cuda:{device}")
    return partial(
        torch._scaled_mm,  # PyTorch has no other product in FP8
        one.to(torch.float8_e4m3fn),
        other.to(torch.float8_e4m3fn).t(),
        scale_a=scale,
        scale_b=scale,
        out_dtype=torch.bfloat16,
    )


def matrices(kind: str, count: int, clocks: Callable[[], list[int | None]]) -> Iterator[Result]:
    """Multiply matrices of 8192 x 8192 until the clock has settled, and then for the result.

    Args:
        kind: ``bf16`` or ``fp8``.
        count: of GPUs, which all work side by side.
        clocks: returns the SM clock of each GPU, in MHz.
    """
    each = [[device] for device in range(count)]
    works = {device: products(kind, device) for device in range(count)}
    before = timed(3, works)
    repetitions = min(max(3, round(ROUND_S / max(before))), MOST_REPETITIONS)
    started_s, rounds, settled = time.monotonic(), 0, False
    while not (settled and rounds >= LEAST_ROUNDS) and time.monotonic() - started_s < SETTLE_S:
        now = timed(repetitions, works)
        settled = all(abs(a / b - 1) < SETTLED for a, b in zip(now, before, strict=True))
        before, rounds = now, rounds + 1
    seen: list[list[int | None]] = []
    times = [timed(repetitions, works, lambda: seen.append(clocks())) for _ in range(LEAST_ROUNDS)]
    rates = [2 * SIZE**3 / median(column) / 1e12 for column in zip(*times, strict=True)]
    yield f"{kind}_tflops", rates, each
    read = [[mhz for mhz in column if mhz] for column in zip(*seen, strict=True)]
    if not read or not all(read):
        raise RuntimeError("the SM clock cannot be read (it needs the package nvidia-ml-py)")
    yield f"{kind}_sm_clock_mhz", [median(column) for column in read], each


def reduced(count: int, backend: str) -> Iterator[Result]:
    """Reduce over all GPUs, in a process per GPU that inherits this environment.

    Raises:
        RuntimeError: a process failed or hangs; the message has its error.
    """
    program = [sys.executable, "-m", all_reduce.__name__]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranks = [subprocess.Popen([*program, f"{rank}", f"{count}", backend, name]) for rank in range(count)]
        until_s, hangs = time.monotonic() + RANKS_S, False
        try:
            while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
                if hangs := time.monotonic() > until_s:
                    break
                time.sleep(0.02)
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
        yield from ((name, [value], [range(count)]) for name, value in all_reduce.results(folder))
        if hangs:
            raise RuntimeError(f"{backend} did not end within {RANKS_S:g} s and was stopped")
        if any(rank.returncode for rank in ranks):
            raise RuntimeError(all_reduce.problem(folder) or f"a process of {backend} ended without a result")


def on_processors() -> Iterator[Result]:
    """Copy 64 MiB in the host's memory."""
    import torch

    source = torch.zeros(64 * MIB, dtype=torch.uint8)
    target, times = torch.empty_like(source), []
    for _ in range(5):
        start_s = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start_s)
    yield "memory_bandwidth_gb_s", [2 * source.numel() / median(times) / 1e9], [[0]]


@contextlib.contextmanager
def handles(uuids: Sequence[str]) -> Iterator[list[nvml.Gpu | None]]:
    """Yield NVML's handle of each GPU; None if it cannot be read."""
    with contextlib.ExitStack() as stack:
        found: dict[str, nvml.Gpu] = {}
        try:
            from pytest_dsr1.machine.gpu import nvml
            from pytest_dsr1.machine.gpu.nvml_calls import NvmlError

            library = stack.enter_context(nvml.opened())
        except Exception:  # noqa: BLE001 - without NVML only the clock is unknown
            yield [None for _ in uuids]
            return
        with contextlib.suppress(NvmlError):
            for index in range(library.count()):
                with contextlib.suppress(NvmlError):  # a GPU of another job
                    gpu = library.gpu(index)
                    found[gpu.uuid] = gpu
        yield [found.get(uuid) for uuid in uuids]


def _read(gpus: Sequence[nvml.Gpu | None], read: Callable[[nvml.Gpu], Any]) -> list[Any]:
    values = []
    for gpu in gpus:
        value = None
        if gpu is not None:
            with contextlib.suppress(Exception):  # a lost GPU fails its probe by itself
                value = read(gpu)
        values.append(value)
    return values


def groups(count: int, gpus: Sequence[nvml.Gpu | None]) -> Iterator[tuple[Sequence[str], Group]]:
    """Yield the probes of this number of GPUs: names, and what measures them."""
    clocks = partial(_read, gpus, lambda gpu: gpu.sm_clock_mhz())
    cpus = _read(gpus, lambda gpu: gpu.cpus())
    of: dict[str, Group] = {
        "memory_": partial(memory, count),
        "host_ gpu_": partial(host_link, count, cpus),
        "peer_": partial(peers, count),
        "all_reduce_": partial(reduced, count, "nccl"),
        "bf16_": partial(matrices, "bf16", count, clocks),
        "fp8_": partial(matrices, "fp8", count, clocks),
    }
    for starts, group in of.items():
        if count > 1 or starts not in {"peer_", "all_reduce_"}:
            yield [name for name in KINDS if name.startswith(tuple(starts.split()))], group


def report(events: Events, names: Sequence[str], group: Group) -> None:
    """Send the results of some probes, and why the rest of them failed."""
    left, since_s = list(names), time.monotonic()
    limit_s = GROUP_S + (RANKS_S if names[0] in all_reduce.SIZES else 0.0)
    events.send("begin", names=left, limit_s=limit_s)
    try:
        for name, values, gpus in group():
            now_s = time.monotonic()
            placed = [list(each) for each in gpus]
            events.send("probe", name=name, values=list(values), gpus=placed, seconds=now_s - since_s)
            left.remove(name)
            since_s = now_s
    except Exception as error:  # noqa: BLE001 - it costs no other probe
        events.send("missing", names=left, why=first_line(error) or type(error).__name__)


def main(argv: Sequence[str]) -> int:
    """Measure everything."""
    with Events.opened() as events:
        return _measure(argv, events)


def _measure(argv: Sequence[str], events: Events) -> int:
    try:
        import torch
    except (ImportError, OSError) as error:
        why = f"torch cannot be imported in {sys.executable}: {first_line(error)}"
        events.send("missing", names=list(KINDS), why=why)
        return 1
    if argv[:1] == ["cpu"]:
        report(events, ["memory_bandwidth_gb_s"], on_processors)
        report(events, list(all_reduce.SIZES), partial(reduced, 2, "gloo"))
        return 0
    count = torch.cuda.device_count()
    if not count:
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU build"
        why = f"torch {torch.__version__} ({build}) finds no GPU"
        events.send("missing", names=list(KINDS), why=why)
        return 1
    properties = [torch.cuda.get_device_properties(device) for device in range(count)]
    models = [one.name for one in properties]
    events.send("software", torch=torch.__version__, cuda=torch.version.cuda, models=models)
    with handles([f"GPU-{getattr(one, 'uuid', '')}" for one in properties]) as gpus:
        for names, group in groups(count, gpus):
            if argv and not {*argv} & {*names}:
                continue
            report(events, names, group)
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
