"""The families about GPUs, their driver, and NCCL, which joins them."""

from __future__ import annotations

from pytest_dsr1.process.log.family import Family, one_of

_LOOK = "look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, and in Docker at --gpus"

NCCL = "nccl"
NCCL_NETWORK = "nccl network"
DRIVER_REPLACED = "the NVIDIA driver was updated while its old kernel module stayed loaded"
DRIVER_RELOAD = (
    "reboot, or end every program that uses a GPU and reload the kernel modules; in a container: restart the "
    "container"
)
"""What to do then; what reads the driver itself says the same."""

FAMILIES = (
    Family(
        "fewer gpus",
        one_of(
            r"invalid device ordinal|CUDA_ERROR_INVALID_DEVICE\b|cudaErrorInvalidDevice\b",
            r"Only (\d+) GPUs? (?:is|are) available, but (\d+) (?:is|are) required",
            r"(?:world|parallel|tp)[ _]?size\b.{0,60}(?:larger|greater|more) than (?:the )?"
            r"(?:number of |total )*(?:available )?GPUs",
            r"(?:number of|#) (?:available )?(?:GPUs|devices) .*(?:less|fewer|smaller) than",
            r"requires? \d+ GPUs?,? but (?:only )?\d+",
            r"Duplicate GPU detected",
            r"Tried to allocate gpu devices, but only found",
        ),
        "needs more GPUs than it finds",
        _LOOK,
        "TensorRT-LLM's LLM API, vLLM's multiproc_executor, NCCL's init.cc",
        calm=True,
    ),
    Family(
        "driver reload",
        one_of(r"Driver/library version mismatch"),
        f"cannot use the GPUs, because {DRIVER_REPLACED}",
        DRIVER_RELOAD,
        "NVML (error 18), libnvidia-container",
    ),
    Family(
        "driver",
        one_of(
            r"CUDA driver version is insufficient|NVIDIA driver on your system is too old",
            r"cudaErrorInsufficientDriver|cudaErrorUnsupportedPtxVersion|unsupported toolchain",
            r"cudaErrorSystemDriverMismatch|forward compatibility was attempted on non supported HW",
            r"system has unsupported display driver|unsupported display driver / cuda driver combination",
            r"unsatisfied condition: (?:cuda|driver)",
        ),
        "needs another NVIDIA driver",
        "compare `nvidia-smi` with the CUDA version of the software; update the driver, or use an older "
        "container",
        "CUDA runtime API (errors 35, 222, 803, 804), NVML",
    ),
    Family(
        "no gpu",
        one_of(
            r"no CUDA-capable device|No CUDA GPUs are available|Found no NVIDIA driver",
            r"^\w*Error: .*libcuda\.so(?:\.1)?: cannot open shared object|Failed to infer device type",
            r"(?:NVML|nvml).*(?:Driver Not Loaded|Unknown Error|initialize NVML)",
            r"cudaErrorNoDevice\b|CUDA_ERROR_NO_DEVICE\b",
            r"nvidia-container-cli: (?:device|initialization|ldcache|mount|detection) error",
        ),
        "sees no GPU",
        _LOOK,
        "vllm#11617 (libcuda), CUDA runtime API (error 100), torch.cuda, libnvidia-container",
        passing=True,
    ),
    Family(
        "fabric",
        one_of(
            r"system not yet initialized|cudaErrorSystemNotReady|CUDA_ERROR_SYSTEM_NOT_READY",
            r"(?:NVLS|NVLink SHARP|Multicast).*(?:fail|error|memory of size)|CUDA (?:error|failure) 401",
            r"fabric ?manager.*(?:not running|not start|fail)",
        ),
        "cannot use the GPUs' NVLink fabric",
        "check that nvidia-fabricmanager runs (`nvidia-smi -q` shows Fabric: Completed); NCCL_NVLS_ENABLE=0 "
        "switches multicast off",
        "CUDA runtime API (error 802), nccl's transport/nvls.cc",
        calm=True,
        passing=True,
    ),
    Family(
        "broken gpu",
        one_of(
            r"uncorrectable (?:ECC|NVLink) error|cudaErrorECCUncorrectable",
            r"fallen off the bus|GPU is lost|Unable to determine the device handle",
            r"\bXid \(PCI:[^)]*\): (?:48|62|64|74|79|95|119|120|136|140|14[3-5]|149|15[0-6])\b",
        ),
        "met a fault of a GPU",
        "look at `dmesg` for the Xid; reset the GPU or leave it out before the next run",
        "CUDA runtime API (errors 214, 220), NVIDIA's list of Xid errors",
    ),
    Family(
        "xid",
        one_of(r"\bXid \(PCI:"),
        "met an error that the driver logged as an Xid",
        "look the Xid up in NVIDIA's list (13, 31, 43 and 45 are faults of the program); run again with "
        "CUDA_LAUNCH_BLOCKING=1 in engine.environment to see the operation",
        "NVIDIA's list of Xid errors: 13, 31, 43 and 45 are of applications",
        follows=True,
    ),
    Family(
        "gpu busy",
        one_of(r"devices?\(?s?\)? (?:is/are|is|are) busy or unavailable|cudaErrorDevicesUnavailable"),
        "was refused a GPU",
        "end the other processes on the GPUs, and set the compute mode to Default (`nvidia-smi -q -d "
        "COMPUTE`)",
        "CUDA runtime API (error 46)",
    ),
    Family(
        "kernel resources",
        one_of(r"^[\w.]*OutOfResources\b"),
        "has a kernel that needs more shared memory of the GPU than this one has",
        "use another backend or version, or a GPU that the kernel was made for",
        "Triton's runtime/errors.py",
        passing=True,
    ),
    Family(
        "no kernel",
        one_of(
            r"no kernel image is available|cudaErrorNoKernelImageForDevice|device kernel image is invalid",
            r"(?:requires|only supported on|not supported on) .*(?:compute capability|sm_?\d\d|SM ?\d\d"
            r"|GPU arch)",
            r"Unsupported (?:GPU )?arch(?:itecture)?.*(?:sm_?\d|compute)|not compiled .*for .*sm_?\d",
            r"Value 'sm_\w+' is not defined",
        ),
        "has no code for this GPU",
        "use a build for this GPU's compute capability, or another backend",
        "vllm#16307, vllm#19906, CUDA runtime API (error 209)",
    ),
    Family(
        "cuda",
        one_of(
            r"illegal memory access|misaligned address|device-side assert|unspecified launch failure",
            r"CUDA error: (?!out of memory)|CUDA (?:runtime|driver) error in|Cuda Runtime \((?!out of "
            r"memory)",
            r"CUDA_ERROR_(?!OUT_OF_MEMORY)[A-Z_]+|cudaError(?!MemoryAllocation)[A-Z]\w+",
            r"(?:CUBLAS|CUDNN)_STATUS_(?!SUCCESS|ALLOC_FAILED)[A-Z_]+",
            r"error (?:occurred )?when running GEMM",
        ),
        "met an error of CUDA",
        "run again with CUDA_LAUNCH_BLOCKING=1 in engine.environment to see the operation, and look for "
        "the text "
        "among the known bugs of this version",
        "TensorRT-LLM#4708, #5242, #5389, #2393, vllm's and torch's CUDA errors",
        follows=True,
    ),
    Family(
        "nccl timeout",
        one_of(
            r"Watchdog caught collective operation timeout",
            r"(?:NCCL|ProcessGroup\w*).*(?:timed? ?out|timeout)",
            r"(?:NCCL|ProcessGroup\w*).*watchdog thread terminated",
            r"(?:RPC call to \w+ timed out|Scheduler watchdog timeout|Watchdog timeout)",
        ),
        "waited too long for another GPU's process",
        "look at which rank stopped first; NCCL_DEBUG=INFO in engine.environment shows its last step",
        "torch's ProcessGroupNCCL.cpp, vLLM's multiproc_executor, sglang's watchdog",
        kind="consequence",
        calm=True,
    ),
    Family(
        NCCL_NETWORK,
        one_of(
            r"NCCL WARN .*(?:Call to connect|connect to|Connect to|socketStartConnect"
            r"|socketPollConnect).*(?:fail|refused|timed out)",
            r"NCCL WARN .*(?:NET/|IB|ibv_|no socket interface|No interface found|Bootstrap)",
            r"NCCL WARN .*No route to host|NCCL WARN .*Connection (?:refused|timed out)",
        ),
        "could not connect its GPUs' processes over the network",
        "set NCCL_SOCKET_IFNAME (and NCCL_IB_HCA) in engine.environment to an interface that all nodes reach",
        "nccl's misc/socket.cc and transport/net_ib.cc",
        calm=True,
    ),
    Family(
        NCCL,
        one_of(
            r"NCCL WARN (?!.*(?:INFO|Using|deprecated|not set|will be|disabled))",
            r"NCCL error .*'invalid usage|ncclInvalidUsage|ncclInvalidArgument",
        ),
        "met an error of NCCL",
        "run again with NCCL_DEBUG=INFO in engine.environment, which shows the step that failed",
        "TensorRT-LLM#9263, nccl#1528",
        kind="consequence",
        calm=True,
    ),
    Family(
        "nccl unexplained",
        one_of(
            r"unhandled (?:system|cuda) error|NCCL (?:communicator|error)|ncclUnhandled\w+|ncclSystemError",
            r"ncclInternalError|ncclRemoteError|remote process exited or there was a network error",
            r"NCCL Error \d",
        ),
        "met an error of NCCL, which does not say why",
        "run again with NCCL_DEBUG=INFO in engine.environment, which shows the step that failed",
        "TensorRT-LLM#1826, nccl#1283, nccl-tests#322",
        kind="consequence",
    ),
)
