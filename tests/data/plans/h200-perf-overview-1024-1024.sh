# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: h200-perf-overview-1024-1024 (suites/h200/perf-overview-1024-1024.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# expected: 4 min measuring at target rates, 0.53 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
set -eu
pytest-dsr1 dataset h200-perf-overview-1024-1024 dataset.jsonl
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
  --model deepseek-ai/DeepSeek-R1-0528 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1-0528" \
  throughput \
  --dataset dataset.jsonl \
  --tp 8 \
  --num_requests 3000 \
  --warmup 2 \
  --ep 8 \
  --kv_cache_free_gpu_mem_fraction 0.95 \
  --enable_chunked_context \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json
