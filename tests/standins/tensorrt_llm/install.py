"""The installation of the stand-in for tests: a folder for PYTHONPATH with a package `tensorrt_llm`.

The environment variable DSR1_STANDIN_FAIL makes it fail: ``import`` (a library is missing), ``load-memory``,
``load-hang``, ``load-exit`` (ends without a message), ``worker`` (its process dies after two requests and it
waits forever, as the real one can), ``hang`` (no more tokens), ``request`` (the second request fails),
``short`` (the second request ends early), ``memory`` (its process runs out of memory after two requests),
``clock`` (request times on another clock). DSR1_STANDIN_GPUS is the number of its GPUs (8), DSR1_STANDIN_PIDS
is a file for the id of its process, DSR1_STANDIN_STEP_S is the time of a decode step, DSR1_STANDIN_LOAD_S
that of loading, and DSR1_STANDIN_DRAFTS is the number of draft tokens that it uses unasked. With
DSR1_STANDIN_REFUSE it rejects a max_batch_size below 8. With DSR1_STANDIN_DIES_AFTER its process dies
after so many requests.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_FROM = "from tests.standins.tensorrt_llm."
_MODULES = {
    "__init__.py": f"{_FROM}llm import LLM, SamplingParams\n__version__ = {{version!r}}\n",
    "llmapi/__init__.py": "",
    "llmapi/llm_args.py": f"{_FROM}arguments import TorchLlmArgs\n",
    "llmapi/llm_utils.py": f"{_FROM}arguments import update_llm_args_with_extra_dict\n",
}


def install(folder: Path, version: str = "1.2.1") -> Path:
    """Install the package and its metadata in ``folder``, for PYTHONPATH; return the folder."""
    metadata = folder / f"tensorrt_llm-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n", encoding="utf-8"
    )
    for name, text in _MODULES.items():
        path = folder / "tensorrt_llm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"import sys\nsys.path.insert(0, {str(_ROOT)!r})\n" + text.format(version=version),
            encoding="utf-8",
        )
    return folder
