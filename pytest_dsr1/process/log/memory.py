"""The families about memory: of the host, the shared memory, the GPUs and the KV cache."""

from __future__ import annotations

from pytest_dsr1.process.log.family import Family, one_of

GPU_MEMORY = "gpu memory"
GPU_MEMORY_LOADING = "gpu memory while loading"
HOST_MEMORY = "host memory"
KV_CACHE = "kv cache"
GPU_IN_USE = "gpu in use"

FAMILIES = (
    Family(
        "shared memory",
        one_of(
            r"shared memory segment /dev/shm",
            r"failed to extend /dev/shm/",
            r"No space left on device.*(?:/dev/shm|psm_|shm_open|shared.?memory)",
            r"(?:/dev/shm|shared.?memory).*No space left on device",
            r"insufficient shared memory",
            r"unable to (?:open|allocate|write to|mmap) (?:a )?shared memory",
            r"out of shared memory|shared memory .*\(shm\)",
            r"DataLoader worker .* is killed by signal: Bus error",
            r"shmutils\.cc:\d+ .*(?:Error|failed)",
        ),
        "ran out of shared memory (/dev/shm)",
        "make it larger; in Docker: --shm-size=16g or --ipc=host",
        "TensorRT-LLM#1826, nccl-tests#166, sglang#4289, torch's DataLoader",
        calm=True,
    ),
    Family(
        "pinned memory",
        one_of(
            r"(?:cudaHostAlloc|cudaMallocHost|cudaHostRegister|cuMemHostAlloc|cuMemAllocHost)\b.*(?:out "
            r"of memory|failed)",
            r"failed to (?:allocate|register) .*(?:pinned|page-locked|host) (?:host )?memory",
            r"pinned? memory.*(?:out of memory|Cannot allocate)",
        ),
        "could not get pinned memory of the host",
        "free memory of the host, lift the limit of locked memory (ulimit -l unlimited; in Docker: --ulimit "
        "memlock=-1), or switch off the cache in host memory",
        "TensorRT-LLM cpp/tensorrt_llm/runtime/tllmBuffers.h, CUDA runtime API",
    ),
    Family(
        "locked memory",
        one_of(
            r"ibv_(?:reg_mr|create_qp|create_cq|alloc_pd)\w* failed.*(?:Cannot allocate memory|error 12)",
            r"(?:RLIMIT_)?MEMLOCK.*(?:too (?:low|small)|limit)",
            r"(?:Cannot allocate memory|failed).*check .*ulimit -l",
        ),
        "could not lock memory for InfiniBand",
        "lift the limit of locked memory (ulimit -l unlimited; in Docker: --ulimit memlock=-1)",
        "nccl#1137, Open MPI's help text of the openib BTL",
        calm=True,
    ),
    Family(
        HOST_MEMORY,
        one_of(
            r"\[Errno 12\]|\(?errno:? 12\b",
            r"^(?!.*(?:cuda|gpu|hip|device memory)).*Cannot allocate memory",
            r"std::bad_alloc|^MemoryError\b|\bMemoryError: ",
            r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
            r"unable to mmap \d+ bytes",
            r"Detected \d+ oom[-_]kill|oom-kill:constraint|invoked oom-killer|OOM Killed|OOMKilled",
            r"Out of memory: Killed process|cgroup out[- ]of[- ]memory",
            r"srun: error: .*: tasks? [\d,-]+: Out Of Memory",
            r"mmap.*(?:failed|error).*ENOMEM|\bENOMEM\b",
            r"(?:process|worker|actor|task|Task).*killed due to (?:memory pressure|.*running low on memory)",
        ),
        "ran out of host memory",
        "give the job or the container more memory, or load fewer files at once; `free -g` and `dmesg` "
        "show more",
        "TensorRT-LLM#15296, Slurm's slurmstepd, torch's CPU allocator, Ray's memory monitor",
        calm=True,
    ),
    Family(
        KV_CACHE,
        one_of(
            r"KV cache is needed, which is larger than the available KV cache",
            r"max(?:imum)? seq(?:uence)?[_ ]len(?:gth)?.*larger than the maximum number of tokens.*KV cache",
            r"No available memory for the cache blocks",
            r"Not enough memory\. Please try to increase --mem-fraction-static",
            r"(?:insufficient|not enough|no) (?:gpu )?memory (?:left )?for (?:the )?kv[- ]?cache",
            r"max_num_token\w*.*(?:is|are) (?:too small|larger) .*kv[- ]?cache",
            r"Impossible to fit .*sequence in kvCache",
            r"kv[-_ ]?cache.*(?:cannot|can't|does not|doesn't) fit",
        ),
        "has no room for the KV cache that this scenario needs",
        "shorten the longest sequence, give the KV cache a larger share of the memory, or use more GPUs",
        "vllm#31480, vllm#14574, sglang's --mem-fraction-static, TensorRT-LLM's kvCacheManager.cpp",
    ),
    Family(
        GPU_IN_USE,
        one_of(
            r"Free memory on device .* is less than desired GPU memory utilization",
            r"initial free memory .*(?:current free|does not match|memory profiling)",
            r"Error in memory profiling",
        ),
        "found too little free memory on a GPU",
        "end the other processes on the GPUs: `nvidia-smi` lists them",
        "vllm#25837, vllm#17366",
    ),
    Family(
        GPU_MEMORY,
        one_of(
            r"OutOfMemoryError\b|\bCUDA_ERROR_OUT_OF_MEMORY\b|\bcudaErrorMemoryAllocation\b|hipErrorOutOfMemory",
            r"(?:CUDA|HIP|GPU|device|HBM|VRAM|NCCL)\b.{0,200}?\bout of memory\b",
            r"\bout of memory\b.{0,80}?(?:\bCUDA|\bGPU|\bdevice\b|\bHBM|VRAM)",
            r"(?:CUBLAS|CUDNN|CUSPARSE|CUSOLVER)_STATUS_ALLOC_FAILED",
            r"insufficient (?:GPU|device) memory|(?:GPU|device) memory .*(?:insufficient|exhausted)",
            r"RESOURCE_EXHAUSTED: Out of memory",
            r"Error Code \d+: OutOfMemory|\bOutOfMemory \(",
            r"ran out of (?:GPU |device |CUDA )?memory",
            r"(?:cudaMalloc\w*|cuMem(?:Alloc|Create)\w*)\b.*(?:out of memory|\b2\b|failed)",
            r"\bfailed to allocate .*\b(?:on|from) (?:the )?(?:GPU|device)",
            r"\bGPU OOM\b|\bCUDA OOM\b",
        ),
        "ran out of GPU memory",
        "",
        "torch (OutOfMemoryError, AcceleratorError), TensorRT-LLM#15639, #7818, #1670, openxla/xla#7201, "
        "TensorRT",
        quotes=False,
    ),
)
