"""The installation of the stand-in for tests: a folder for PATH, and package metadata for PYTHONPATH."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def install(folder: Path, version: str = "1.2.1") -> Path:
    """Install ``folder/bin/trtllm-bench`` and, in ``folder/site``, the metadata of ``tensorrt_llm``.

    Prepend ``folder/bin`` to PATH and ``folder/site`` to PYTHONPATH (or sys.path), and set
    ``DSR1_STANDIN_VERSION`` to ``version``.

    Returns:
        The program.
    """
    metadata = folder / "site" / f"tensorrt_llm-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n", encoding="utf-8"
    )
    program = folder / "bin" / "trtllm-bench"
    program.parent.mkdir()
    # Without `site` it starts quickly, and coverage does not measure it.
    packages = [str(_ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    program.write_text(
        f"#!{sys.executable} -S\nimport sys\nsys.path[:0] = {packages!r}\n"
        "from tests.standins.trtllm_bench.program import main\nmain()\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program
