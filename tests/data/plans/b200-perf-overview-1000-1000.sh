# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-perf-overview-1000-1000 (suites/b200/perf-overview-1000-1000.yaml)
# machine: 4 x NVIDIA B200, at least 178 GiB each
# expected: 116 s measuring at target rates, 0.13 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
set -eu
pytest-dsr1 dataset b200-perf-overview-1000-1000 dataset.jsonl
export PYTHONUNBUFFERED=1
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
enable_attention_dp: true
attention_dp_config:
  enable_balance: true
  batching_wait_iters: 0
  timeout_iters: 60
cuda_graph_config:
  batch_sizes:
  - 1
  - 2
  - 4
  - 8
  - 16
  - 32
  - 64
  - 128
  - 256
  - 384
  - 512
  - 1024
  - 2048
  - 4096
  - 8192
  enable_padding: true
moe_config:
  backend: CUTLASS
kv_cache_config:
  dtype: fp8
  free_gpu_memory_fraction: 0.95
  enable_block_reuse: false
DSR1_OPTIONS
trtllm-bench \
  --model nvidia/DeepSeek-R1-0528-NVFP4-v2 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1-0528-NVFP4-v2" \
  throughput \
  --dataset dataset.jsonl \
  --tp 4 \
  --num_requests 3000 \
  --warmup 2 \
  --ep 4 \
  --kv_cache_free_gpu_mem_fraction 0.95 \
  --enable_chunked_context \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json
