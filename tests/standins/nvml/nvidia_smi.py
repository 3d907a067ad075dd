"""A stand-in for nvidia-smi: the options of the GPU setup, on the stand-in machine's state file.

It runs with -S -E, with the standard library only. ``smi.permission 0`` denies every change.
``gpu.N.smi.deny WORD`` denies one kind of change (pm, pl, lgc, rgc, vboost) on one GPU, and
``gpu.N.smi.fail WORD`` fails it with another error. ``smi.vboost 0`` is a driver without boost sliders.
``smi.ignore WORD`` reports success without effect.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import state as machine  # type: ignore[import-not-found]


def refused(facts: dict[str, str], gpu: int, word: str, doing: str) -> int:
    bus = f"0000000{gpu}:00:00.0"
    if facts.get("smi.permission") == "0" or word in machine.of_gpu(facts, gpu, "smi.deny").split():
        print(f"Unable to {doing} for GPU {bus}: Insufficient Permissions")
        print("Terminating early due to previous errors.")
        return 4
    if word in machine.of_gpu(facts, gpu, "smi.fail").split():
        print(f"Unable to {doing} for GPU {bus}: Invalid Argument")
        return 2
    return 0


def change(facts: dict[str, str], gpu: int, word: str, value: str) -> None:
    def put(name: str, new: str) -> None:
        facts[f"gpu.{gpu}.{name}"] = new

    if word == "pm":
        if value == "0" and machine.of_gpu(facts, gpu, "persistence") == "1":
            # The driver releases the GPU and forgets its settings.
            put("power_limit_mw", machine.of_gpu(facts, gpu, "power_default_mw"))
            put("vboost", "0")
            put("locked", "none")
        put("persistence", value)
    elif word == "pl":
        put("power_limit_mw", str(round(float(value) * 1000)))
    elif word == "lgc":
        put("locked", value)
    elif word == "rgc":
        put("locked", "none")
    else:
        put("vboost", value)


def sliders(facts: dict[str, str]) -> int:
    if facts.get("smi.vboost") == "0":
        print("No boost sliders are supported on this system.")
        return 3
    line = "+-------------------------------------------------+"
    print(line)
    print("| GPU Boost Slider                                |")
    print("| GPU     Slider       Max Value    Current Value |")
    print("|=================================================|")
    for gpu in range(int(facts["count"])):
        print(f"|   {gpu}     vboost           4              {machine.of_gpu(facts, gpu, 'vboost')}       |")
        print(line)
    return 0


def main(arguments: list[str]) -> int:
    state_file = Path(os.environ["DSR1_NVML_STATE"])
    with Path(os.environ["DSR1_NVML_LOG"]).open("a") as log:
        log.write(f"{os.getpid()} nvidia-smi {' '.join(arguments)}\n")
    words = [word for word in arguments if word != "boost-slider"]
    with machine.changing(state_file) as facts:
        if words == ["-l"]:
            return sliders(facts)
        chosen = range(int(facts["count"]))
        if words[0] == "-i":
            chosen = range(int(words[1]), int(words[1]) + 1)
            words = words[2:]
        word = words[0].lstrip("-")
        doing = {"pm": "set persistence mode", "pl": "set power limit", "vboost": "set vboost slider"}
        for gpu in chosen:
            code = refused(facts, gpu, word, doing.get(word, "change clocks"))
            if code:
                return code
            if word not in facts.get("smi.ignore", "").split():
                change(facts, gpu, word, words[1] if len(words) > 1 else "")
            print(f"All done for GPU {gpu}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
