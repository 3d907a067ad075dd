# pytest-dsr1 starts and stops this server: NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1 VLLM_ALLREDUCE_USE_SYMM_MEM=0 VLLM_USE_NCCL_SYMM_MEM=0 VLLM_ALLREDUCE_USE_FLASHINFER=0 NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=INIT,ENV VLLM_USE_DEEP_GEMM=0 vllm serve CACHE/models/random-37513b5bdc897a6a --host 127.0.0.1 --port 8000 --tensor-parallel-size 8 --enable-expert-parallel --max-num-seqs 256 --max-num-batched-tokens 8192 --max-model-len 4096 --gpu-memory-utilization 0.9 --load-format dummy --no-enable-prefix-caching --disable-uvicorn-access-log -cc.pass_config.fuse_allreduce_rms=false -cc.pass_config.enable_sp=false -cc.pass_config.fuse_gemm_comms=false
# scenario: full-h200-vllm-max-throughput (suites/full-h200/vllm-max-throughput.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# expected: 87 s measuring at target rates, 0.19 GPU-hours, plus loading the weights
pytest --dsr1-profile=full-h200-vllm-max-throughput
