"""The environment variables that name folders of compile caches."""

from __future__ import annotations

VARIABLES = {
    "TORCHINDUCTOR_CACHE_DIR": "",
    "TORCH_EXTENSIONS_DIR": "",
    "TRITON_CACHE_DIR": "",
    "TRITON_HOME": ".triton/cache",
    "VLLM_CACHE_ROOT": "",
    "FLASHINFER_WORKSPACE_BASE": ".cache/flashinfer",
    "DG_JIT_CACHE_DIR": "",
    "TRTLLM_DG_CACHE_DIR": "",
    "SGLANG_DG_CACHE_DIR": "",
    "SGLANG_CACHE_DIR": "",
    "SGLANG_JIT_CACHE_DIR": "",
    "TILELANG_CACHE_DIR": "",
    "TVM_FFI_CACHE_DIR": "",
    "CUTE_DSL_CACHE_DIR": "",
}
"""The position of the cache below the folder of each variable."""
