"""The families about options, model files and the installed software."""

from __future__ import annotations

from pytest_dsr1.process.log.family import Family, one_of

OPTION = "option"
USAGE = "usage"
INTERRUPTED = "interrupted"

FAMILIES = (
    Family(
        USAGE,
        one_of(
            r"^Error: (?:No such (?:option|command)|Invalid value|Missing (?:option|argument|parameter)"
            r"|Got unexpected"
            r"|Option |Unknown option)",
            r"^[\w./ -]+: error: (?:unrecognized arguments|argument |the following arguments|ambiguous option"
            r"|invalid choice|unknown argument)",
            r"^(?:error|Error): (?:unrecognized arguments|argument --|unexpected argument)",
            r"^unrecognized arguments: ",
        ),
        "refuses its command line",
        "correct the scenario's options, or engine.arguments",
        "click's and argparse's own messages, TensorRT-LLM#5656, #3583",
    ),
    Family(
        "architecture",
        one_of(
            r"Transformers does not recognize this architecture|Unrecognized model in ",
            r"Model architectures? .* (?:is|are) not (?:supported|registered)|failed to be inspected",
            r"Unsupported (?:model )?architecture|Unknown (?:architecture|model type)|has no "
            r"TransformersForCausalLM",
            r"(?:model type|architecture) .* (?:is )?not (?:currently )?supported",
        ),
        "does not know the model's architecture",
        "update transformers or the engine to a version that has it",
        "vllm#31480, TensorRT-LLM#2845",
    ),
    Family(
        "quantization",
        one_of(
            r"[Uu]nsupported quant|quantization method .* not supported|Unknown quantization",
            r"[Qq]uant\w* .*(?:does not match|doesn't match|mismatch)",
        ),
        "cannot use the checkpoint's quantization",
        "choose a checkpoint or a backend that fits this GPU and version",
        "TensorRT-LLM's hf_quant_config.json, vLLM's verify_quantization",
    ),
    Family(
        "gated model",
        one_of(
            r"GatedRepoError|(?:401|403) Client Error|gated repo|Access to model .* is restricted",
            r"Invalid (?:user token|credentials)|is not authorized to access",
        ),
        "may not download the model",
        "set HF_TOKEN and accept the model's terms, or set model.path to a local folder",
        "huggingface_hub's errors",
        passing=True,
    ),
    Family(
        "no model",
        one_of(
            r"does not appear to have a file named|is not a local folder and is not a valid model identifier",
            r"RepositoryNotFoundError|HFValidationError|LocalEntryNotFoundError|EntryNotFoundError",
            r"couldn't connect to 'https://huggingface\.co|OfflineModeIsEnabled|Can't load (?:tokenizer"
            r"|the configuration|config)",
            r"(?:Max retries exceeded with url|Failed to resolve|Name or service not known).*huggingface",
            r"huggingface.*(?:Max retries exceeded|Failed to resolve|NameResolutionError|Connection refused)",
            r"Repo id must (?:be|use)|(?:Cannot find|No) any model weights|No safetensors (?:files"
            r"|found)|Cannot find any model",
            r"Couldn't instantiate the backend tokenizer",
        ),
        "cannot find the model",
        "set model.path to a folder with config.json, tokenizer and all weights, which every node sees",
        "transformers' utils/hub.py, huggingface_hub's errors",
        passing=True,
    ),
    Family(
        "weights",
        one_of(
            r"SafetensorError|HeaderTooLarge|header too (?:large|small)|InvalidHeader"
            r"|MetadataIncompleteBuffer",
            r"incomplete metadata|file not fully covered|invalid load key",
            r"PytorchStreamReader failed|(?:size|shape) mismatch for |Error\(s\) in loading state_dict",
            r"(?:Missing|Unexpected) key\(s\) in state_dict|The size of tensor .* must match",
        ),
        "cannot read the model's weights",
        "download the checkpoint again (a Git LFS pointer or a half file looks like this), and check "
        "that it is "
        "the model of the scenario",
        "safetensors' errors, torch.load",
    ),
    Family(
        "parallelism",
        one_of(
            r"must be divisible by (?:tensor|the tensor|tp|the number|world|ep|pipeline)",
            r"is not divisible by|not divisible by (?:weight|the)",
            r"(?:tp_size|world_size|ep_size|pp_size|moe_\w+_size).*(?:must|not equal|mismatch|does not "
            r"match|expected)",
        ),
        "cannot split the model so",
        "choose engine.tp, engine.pp and engine.ep that divide the model's heads and experts",
        "vLLM's ModelConfig.verify_with_parallel_config, TensorRT-LLM's mapping.py",
    ),
    Family(
        "sequence length",
        one_of(
            r"max_model_len .* is greater than the derived|max_num_batched_tokens .* is smaller than "
            r"max_model_len",
            r"(?:prompt|input|sequence) length .*(?:exceeds|larger than|longer than) (?:the )?max",
            r"max_seq_len.*(?:exceeds|larger than|greater than|smaller than)",
        ),
        "cannot take sequences of this length",
        "correct engine.max_seq_len, engine.max_num_tokens, or the dataset's lengths",
        "vLLM's ModelConfig, TensorRT-LLM's executor",
    ),
    Family(
        "port",
        one_of(r"address already in use|port is already allocated|EADDRINUSE|\[Errno 98\]"),
        "could not listen at its port, which another process uses",
        "run again, or end the process (`ss -ltnp` lists them)",
        "vllm#7514, #9763, #11617",
        passing=True,
    ),
    Family(
        "files",
        one_of(r"[Tt]oo many open files|\[Errno 24\]|EMFILE"),
        "ran out of open files",
        "raise the limit: ulimit -n 65536",
        "errno 24",
        passing=True,
    ),
    Family(
        "threads",
        one_of(
            r"can't start new thread|Resource temporarily unavailable.*(?:fork|thread|pthread)",
            r"(?:fork|pthread_create|clone)\w*\(?.*(?:Resource temporarily unavailable|failed)",
            r"libgomp: Thread creation failed",
        ),
        "may start no more processes or threads",
        "raise the limit: ulimit -u, or in Docker: --pids-limit",
        "errno 11, OpenBLAS's and libgomp's messages",
        passing=True,
    ),
    Family(
        "disk",
        one_of(r"No space left on device|\[Errno 28\]|ENOSPC|[Dd]isk quota exceeded|\[Errno 122\]"),
        "ran out of disk space",
        "free space where it writes: its caches (HF_HOME, TRITON_CACHE_DIR, ~/.cache), /tmp and the results",
        "errno 28 and 122",
        passing=True,
    ),
    Family(
        "permission",
        one_of(r"PermissionError|\[Errno 13\]|\[Errno 30\]|Read-only file system"),
        "may not read or write a file",
        "correct its permissions; caches can go elsewhere with HF_HOME and TRITON_CACHE_DIR",
        "errno 13 and 30",
        passing=True,
    ),
    Family(
        "trust",
        one_of(
            r"(?:pass|set|allow|argument|option|requires?|need|use|with)\b.{0,60}trust[_-]remote[_-]code",
            r"contains custom code which must be executed|trust_remote_code\W* (?:must|needs|is required)",
        ),
        "wants permission to run the model's own code",
        "if you trust it, add --trust-remote-code to engine.arguments",
        "transformers' dynamic_module_utils.py",
        passing=True,
    ),
    Family(
        "headers",
        one_of(r"fatal error: \S+\.(?:h|hpp|hh|cuh|inc): No such file|cannot find -l\w+"),
        "could not compile a kernel, because a file to compile with is missing",
        "install what has this file (Python.h: python3-dev or python3-devel; CUDA's: the CUDA toolkit), or "
        "use the engine's container",
        "gcc, nvcc and ld, called by Triton's build.py and torch.utils.cpp_extension",
        passing=True,
    ),
    Family(
        "compiler",
        one_of(
            r"(?:Could not find|cannot find|not found).*\bnvcc\b|nvcc(?: fatal|: not found|: No such file)",
            r"Failed to find C compiler|ninja: build stopped|Ninja is required|Error building extension",
            r"CUDA_HOME environment variable is not set",
        ),
        "could not compile a kernel",
        "install a compiler and the CUDA toolkit (nvcc) of the software's version, or use its container",
        "Triton's build.py, torch.utils.cpp_extension, FlashInfer's jit",
        passing=True,
    ),
    Family(
        "import",
        one_of(
            r"^[\w.]*(?:ModuleNotFound|Import|PackageNotFound)Error\b|^[\w.]*DistributionNotFound\b",
            r"^OSError: .*(?:cannot open shared object file|undefined symbol)",
            r": (?:error while loading shared libraries|symbol lookup error): |: version "
            r"`GLIBC\w*_[\d.]+' not found",
        ),
        "is not completely installed",
        "install the package that the log names, or use the engine's container",
        "Python's import system, the dynamic linker",
        kind="early",
    ),
    Family(
        OPTION,
        one_of(
            r"unexpected keyword argument '\w+'",
            r"validation errors? for \w+",
            r"(?:Extra inputs are not permitted|Input should be |Field required|Value error, )",
            r"Unrecognized configuration class|unknown (?:field|key|config) .*(?:config|args)",
        ),
        "refuses an option",
        "correct it in the scenario",
        "pydantic 2, TensorRT-LLM's TorchLlmArgs, vLLM's ModelConfig",
    ),
    Family(
        INTERRUPTED,
        one_of(r"Keyboard interrupt, exiting benchmark", r"^KeyboardInterrupt"),
        "was interrupted (SIGINT)",
        "",
        "trtllm-bench 0.18 to 1.3",
        kind="consequence",
        quotes=False,
        calm=True,
    ),
)
