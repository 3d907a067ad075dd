"""The commands that go on from "the software": they find the first bad version, and what is slow in it."""

from __future__ import annotations

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.text import shell_word

NSYS = "nsys profile -o slow -t cuda,nvtx"


def commands(measurement: Measurement, *, lost: bool) -> str:
    """Return the commands for a run, as the end of a sentence.

    Args:
        measurement: the saved run.
        lost: whether a gate showed a loss, and not only a target was missed.
    """
    engine, folder = measurement.scenario.engine, measurement.folder
    again = f"pytest {shell_word(str(folder / 'scenario.yaml'))}"
    judged = f"{again} --dsr1-gate -k regression" if lost else again
    load = f"{again} --dsr1-results=profiled"  # elsewhere, so that no later run is compared with it
    if engine.attached_url is not None:
        return (
            f"start its server with a version halfway, run `{judged}`, and halve again; then put `{NSYS}` "
            f"before the command of the first bad server, and run `{load}`"
        )
    script = engine.whole_script and f"bash {shell_word(str(folder / 'engine' / engine.whole_script))}"
    bisect = f"git bisect run pytest-dsr1 bisect -- {judged}"
    return f"`{bisect}`; then profile the first bad one: `{NSYS} {script or load}`"
