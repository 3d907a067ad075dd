# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-max-throughput-0528-fp8kv (suites/b200/max-throughput-0528-fp8kv.yaml)
# machine: 8 x NVIDIA B200, at least 178 GiB each
# expected: 91 min measuring at target rates, 12.10 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
set -eu
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 4; done
pytest-dsr1 dataset b200-max-throughput-0528-fp8kv dataset.jsonl
export PYTHONUNBUFFERED=1
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
enable_attention_dp: true
cuda_graph_config:
  batch_sizes:
  - 896
  - 512
  - 256
  - 128
  - 64
  - 32
  - 16
  - 8
  - 4
  - 2
  - 1
  enable_padding: true
kv_cache_config:
  dtype: fp8
  free_gpu_memory_fraction: 0.93
  enable_block_reuse: false
print_iter_log: true
DSR1_OPTIONS
trtllm-bench \
  --model nvidia/DeepSeek-R1-0528-FP4 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1-0528-FP4" \
  throughput \
  --dataset dataset.jsonl \
  --tp 8 \
  --num_requests 114688 \
  --concurrency 7168 \
  --warmup 2 \
  --ep 8 \
  --max_batch_size 896 \
  --max_num_tokens 2048 \
  --kv_cache_free_gpu_mem_fraction 0.93 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json
