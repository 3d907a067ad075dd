"""One saved run, as a program reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pytest_dsr1.gate.saved import saved_accuracy, saved_verdicts
from pytest_dsr1.machine.values import FactValue, GpuSample
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import load_requests, load_samples, load_slim
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.metrics.registry import Better
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.scenario import Scenario, Target
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.targets import bound
from pytest_dsr1.verdict.validity import invalid_reasons
from pytest_dsr1.verdict.verdict import Status, Verdict, subject_of, worst


@dataclass(frozen=True, slots=True)
class MetricResult:
    """A metric of one run, with its target.

    Attributes:
        name: the metric's name, such as ``average_ttft``.
        label: its name in tables, such as ``average time to first token (TTFT)``.
        value: in ``unit``; None if there is a target and it was not measured.
        unit: such as ``tok/s`` or ``ms``.
        better: which direction is an improvement: ``higher``, ``lower`` or ``neither``.
        origin: the source of the value: the engine's own ``report``, or request ``records``; None without a
            value.
        target: the expected value, in ``unit``; None without a target.
        bound: the worst value that passes, in ``unit``; None without a target.
        verdict: on the target: ``PASS``, ``FAIL`` or ``INVALID``; None without a target, or if it was not
            judged.
    """

    name: str
    label: str
    value: float | None
    unit: str
    better: Better
    origin: Literal["report", "records"] | None
    target: float | None = None
    bound: float | None = None
    verdict: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """One saved run of a scenario. It is read-only.

    Requests and samples of GPUs are read when they are first used, so that many results can be loaded.

    Attributes:
        verdicts: the latest saved verdicts on targets; empty if none was judged.
        accuracy: the latest saved verdicts on answers; empty without any.
    """

    _slim: Measurement
    verdicts: tuple[Verdict, ...] = ()
    accuracy: tuple[AccuracyVerdict, ...] = ()
    _why_invalid: tuple[str, ...] | None = None

    @classmethod
    def load(cls, folder: Path) -> Result:
        """Return the result in a folder.

        Raises:
            IncompleteError: the run has not ended, or failed.
            UserError: the folder has no result that this version reads; the message names the file.
        """
        return cls(load_slim(folder), saved_verdicts(folder), saved_accuracy(folder))

    def __repr__(self) -> str:
        return f"<Result {self.profile} {self.started:%Y-%m-%d %H:%M:%S} UTC: {self.verdict or 'not judged'}>"

    @cached_property
    def folder(self) -> Path:
        """Where it is saved; an absolute path."""
        return self._slim.folder.absolute()

    @property
    def scenario(self) -> Scenario:
        """The scenario as it ran."""
        return self._slim.scenario

    @property
    def profile(self) -> str:
        """The scenario's name."""
        return self.scenario.name

    @property
    def started(self) -> datetime:
        """When the run began, in UTC."""
        return datetime.fromisoformat(self._slim.started_utc).astimezone(timezone.utc)

    @property
    def measured_s(self) -> float:
        """The measured time, in s."""
        return self._slim.measured_s

    @property
    def unix_minus_monotonic_s(self) -> float:
        """Added to a time of a request or a sample, gives seconds since 1970."""
        return self._slim.unix_minus_monotonic_s

    @property
    def facts(self) -> Mapping[str, FactValue]:
        """What it ran on, as dotted keys such as ``gpu.name``, ``driver`` or ``option.engine.tp``."""
        return MappingProxyType(dict(self._slim.fingerprint.facts))

    @property
    def gpu(self) -> str | None:
        """The name of the GPUs, each different one once; None on the CPU."""
        found = self._slim.fingerprint.facts.get("gpu.name")
        names = dict.fromkeys(map(str, found) if isinstance(found, list) else [str(found)])
        return ", ".join(names) if self.gpu_count and found else None

    @property
    def gpu_count(self) -> int:
        """The number of GPUs that a figure per GPU is divided by; 0 on the CPU."""
        return self._slim.result.gpus

    @property
    def driver(self) -> str | None:
        """The version of NVIDIA's driver; None if unknown."""
        found = self._slim.fingerprint.facts.get("driver")
        return None if found is None else str(found)

    @property
    def engine(self) -> str:
        """The type of the engine in the scenario, such as ``trtllm-bench``."""
        return self.scenario.engine.type

    @property
    def engine_version(self) -> str | None:
        """The engine's packages with their versions, such as ``vllm 0.26.0``; None if unknown."""
        return self._slim.result.version or None

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of all software of the engine, by package."""
        return MappingProxyType(dict(self._slim.result.versions))

    @property
    def model(self) -> str:
        """The model's name in the scenario, such as ``deepseek-ai/DeepSeek-R1``."""
        return self.scenario.model.name

    @property
    def quantization(self) -> str:
        """The quantization of the weights, as the engine reports it, else as the scenario says."""
        return self._slim.result.facts.quantization or self.scenario.model.quantization

    @property
    def isl(self) -> float | None:
        """The mean input sequence length of the dataset, in tokens; None for a dataset of text."""
        return self._slim.workload.mean_input

    @property
    def osl(self) -> float:
        """The mean output sequence length that the dataset asks for, in tokens."""
        return self._slim.workload.mean_output

    @property
    def concurrency(self) -> int | None:
        """The most requests in flight, as the scenario limits them; None without a limit."""
        load = self.scenario.load
        return load.at_once if load.limited else None

    @property
    def request_rate(self) -> float | None:
        """The mean rate of arrivals in an open loop, in req/s; None in a closed loop and for a trace."""
        arrival = self.scenario.load.arrival
        return None if arrival is None or isinstance(arrival, TraceArrival) else arrival.rate_req_s

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every sentence that a person must see next to the figures."""
        return self._slim.warnings

    @cached_property
    def why_invalid(self) -> tuple[str, ...]:
        """Why the run says nothing about performance, by the rules of this version; empty if it is valid."""
        if self._why_invalid is not None:
            return self._why_invalid
        slim = self._slim
        return invalid_reasons(replace(slim, result=replace(slim.result, records=load_requests(self.folder))))

    @cached_property
    def verdict(self) -> str | None:
        """The worst of its saved verdicts on targets and answers, such as ``PASS`` or ``FAIL``.

        Without any: ``INVALID`` if the run does not count, ``MEASURED`` if it is valid and has no targets,
        None if its targets were not judged.
        """
        saved = worst([each.status for each in self.verdicts] + [each.status for each in self.accuracy])
        if saved is not None:
            return saved.value
        if self.why_invalid:
            return Status.INVALID.value
        return None if self.scenario.targets else Status.MEASURED.value

    @cached_property
    def metrics(self) -> Mapping[str, MetricResult]:
        """Every metric that was measured or has a target, by name, in the order of declaration."""
        measured = self._slim.metrics
        targets = {target.metric: target for target in self.scenario.targets}
        found = {}
        for name, metric in METRICS.items():
            value, target = measured.get(name), targets.get(name)
            if value is None and target is None:
                continue
            expected, limit, verdict = self._judged(target)
            found[name] = MetricResult(
                name=name,
                label=metric.label,
                value=None if value is None else value.value,
                unit=metric.unit,
                better=metric.better,
                origin=None if value is None else value.origin,
                target=expected,
                bound=limit,
                verdict=verdict,
            )
        return MappingProxyType(found)

    def _judged(self, target: Target | None) -> tuple[float | None, float | None, str | None]:
        """Return the target's value, its bound, and the verdict on it: as it was judged, if it was."""
        if target is None:
            return None, None, None
        subject = subject_of("target", target.metric)
        for verdict in self.verdicts:
            if verdict.subject == subject:
                return verdict.target, verdict.bound, verdict.status.value
        invalid = Status.INVALID.value
        return target.value, bound(target), invalid if self.verdict == invalid else None

    @cached_property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request, in order of completion; times in s. Read from the disk when first used.

        Raises:
            UserError: the folder was changed or moved; the message names file and line.
        """
        return load_requests(self.folder)

    @cached_property
    def telemetry(self) -> tuple[GpuSample, ...]:
        """Every sample of every GPU, in order of time; times in s. Read from the disk when first used.

        Raises:
            UserError: the folder was changed or moved; the message names file and line.
        """
        return load_samples(self.folder)
