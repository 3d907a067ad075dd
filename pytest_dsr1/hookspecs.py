"""The hooks of pytest-dsr1. A plugin implements one to add something; ``pytest-dsr1 docs extend`` shows how.

Each hook is called once, before anything runs, and lists what the plugin adds. Our own engines, metrics,
checks, clues and report formats are added the same way. A name that is already taken is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pytest_dsr1.diagnosis.clues import Clue
    from pytest_dsr1.engines.protocol import EngineSpec
    from pytest_dsr1.machine.preflight.check import Check
    from pytest_dsr1.metrics.registry import Metric
    from pytest_dsr1.reporting.formats import ReportFormat

hookspec = pluggy.HookspecMarker("pytest_dsr1")


@hookspec
def pytest_dsr1_engines() -> Iterable[EngineSpec]:  # type: ignore[empty-body]
    """List engines, which answer a scenario's requests.

    An engine has a settings model, whose ``type`` is its name in scenarios, and a function that makes an
    object with the methods of :class:`~pytest_dsr1.engines.protocol.Engine`. Override the properties of
    :class:`~pytest_dsr1.scenario.schema.engine.EngineSettings` that differ from their defaults, such as
    ``slots``. Rules between values are optional.

    Example::

        from typing import Literal

        from pytest_dsr1.engines.protocol import EngineResult, EngineSpec, Job
        from pytest_dsr1.records import Observer
        from pytest_dsr1.scenario.schema.engine import EngineSettings

        class EchoSettings(EngineSettings):
            '''An engine that echoes its input.'''

            type: Literal["echo"]
            '''Echoes.'''
            delay_s: float = 0.0
            '''The time it takes.'''

        class EchoEngine:
            def run(self, job: Job, observer: Observer) -> EngineResult:
                settings = EchoSettings.of(job.scenario)
                ...

            def script(self, job: Job) -> str:
                return f"pytest --dsr1-profile={job.scenario.name}"

        def pytest_dsr1_engines():
            return [EngineSpec(settings=EchoSettings, create=EchoEngine)]
    """


@hookspec
def pytest_dsr1_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """List metrics, which can be measured, targeted and gated.

    Return :class:`~pytest_dsr1.metrics.registry.Metric` values, such as all that a module declares::

        from pytest_dsr1.metrics.inputs import MetricInputs
        from pytest_dsr1.metrics.registry import Metrics

        metrics = Metrics("acme-dsr1")  # the source that docs and reports name


        @metrics.metric(
            "energy_per_input_token",
            "energy per input token",
            "J/tok",
            "lower",
            formula="energy of all GPUs / sum of input tokens",
            kind="mean",
            needs={"gpu"},
        )
        def energy(inputs: MetricInputs) -> float | None:
            if inputs.gpu and inputs.gpu.energy_j:
                return inputs.gpu.energy_j / sum(record.input_tokens for record in inputs.done)
            return None


        def pytest_dsr1_metrics():
            return metrics

    A metric that returns None was not measured. One that raises was not measured either, nor one that returns
    anything but a finite number above 0 (0 too with ``may_be_zero=True``): the run then gets a warning that
    names the plugin. ``metrics.mean`` declares a mean over requests, which a gate can judge too.
    """


@hookspec
def pytest_dsr1_checks() -> Iterable[Check]:  # type: ignore[empty-body]
    """List preflight checks, which inspect the machine before a run.

    A check is a function that gets a :class:`~pytest_dsr1.machine.preflight.check.Preflight` and yields
    findings: ``mismatch`` makes the run INVALID, ``warning`` is kept with the result, ``ok`` is shown. Its
    docstring is the rule::

        from pytest_dsr1.machine.preflight.check import check
        from pytest_dsr1.findings import Finding

        @check(needs="gpus")
        def idle(look):
            '''No GPU draws more than 200 W before the run.'''
            for gpu in look.gpus:
                if watts_of(gpu.uuid) > 200:
                    yield Finding("mismatch", f"GPU {gpu.index} power", "expected at most 200 W")

        def pytest_dsr1_checks():
            return [idle]
    """


@hookspec
def pytest_dsr1_clues() -> Iterable[Clue]:  # type: ignore[empty-body]
    """List clues, which say why a figure may be low.

    A clue is a function that gets a :class:`~pytest_dsr1.measurement.measurement.Measurement`. It returns a
    sentence if its pattern is really there, else None::

        from pytest_dsr1.diagnosis.clues import clue

        @clue("slow-network", page="https://wiki.example/slow-network")
        def slow_network(measurement):
            '''A link that runs below its rate.'''
            rate = measurement.fingerprint.facts.get("acme.link_gbit_s", 400)
            return f"the link runs at {rate} Gbit/s: replace its cable" if rate < 400 else None

        def pytest_dsr1_clues():
            return [slow_network]
    """


@hookspec
def pytest_dsr1_reports() -> Iterable[ReportFormat]:  # type: ignore[empty-body]
    r"""List report formats, which ``--dsr1-report`` writes, by file name suffix.

    A format that writes one line for each verdict, in a conftest.py::

        from pytest_dsr1.reporting.formats import Report, ReportFormat

        def write(path, report: Report):
            lines = [
                f"{case.scenario.name},{verdict.metric},{verdict.status.value}"
                for case in report.cases
                for verdict in case.judgment.judged
            ]
            path.write_text("\n".join(lines))

        def pytest_dsr1_reports():
            yield ReportFormat(".csv", "a table", write)
    """
