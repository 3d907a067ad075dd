"""The settings of the engine `transformers`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pytest_dsr1.findings import Finding
from pytest_dsr1.scenario.schema.base import PositiveInt
from pytest_dsr1.scenario.schema.engine import EngineSettings, ModelSource


class Transformers(EngineSettings):
    """The transformers engine: a small DeepSeek-V3-architecture model on Hugging Face transformers. Takes `model.random_weights`."""  # noqa: E501

    type: Literal["transformers"]
    """Hugging Face transformers, in a child process."""
    device: Literal["cpu", "cuda"] = "cpu"
    """The device of the model; `cuda` is one GPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The element type of the weights."""
    compile: bool = False
    """Use a static cache and a compiled decode step (one GPU)."""
    threads: PositiveInt | None = None
    """The number of CPU threads; by default as many as the process may use."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 900.0
    """The longest time until the first measured request, in seconds."""
    run_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The longest measured time in seconds; by default three times the planned time plus 10 minutes."""

    answers_questions: ClassVar[bool] = True

    @property
    def longest_start_s(self) -> float:
        """The limit of the start."""
        return self.startup_timeout_s

    @property
    def gpus(self) -> int:
        """One, or none on the CPU."""
        return int(self.device == "cuda")

    @property
    def computes_on_cpus(self) -> bool:
        """With `device: cpu`."""
        return self.device == "cpu"

    @property
    def measuring_limit_s(self) -> float | None:
        """The scenario's value."""
        return self.run_timeout_s

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """Random weights only."""
        return ("random_weights",)

    @property
    def number_format(self) -> Literal["float32", "bfloat16"]:
        """The format of weights and activations."""
        return self.dtype

    def software(self, environ: Mapping[str, str]) -> Iterator[Finding]:
        """Look for PyTorch and transformers."""
        del environ
        from pytest_dsr1.machine.host import installed_version

        versions = {package: installed_version(package) for package in ("torch", "transformers")}
        missing = [package for package, version in versions.items() if version is None]
        torch = versions["torch"] or ""
        if missing:
            message = f"{' and '.join(missing)} not installed; pip install 'pytest-dsr1[transformers]'"
            yield Finding("mismatch", "software", message)
        elif self.device == "cuda" and torch.endswith("+cpu"):
            message = f"torch {torch} is built for the CPU only; install a CUDA build of torch"
            yield Finding("mismatch", "software", message)
        else:
            listed = ", ".join(f"{name} {version}" for name, version in versions.items())
            yield Finding("ok", "software", listed)
