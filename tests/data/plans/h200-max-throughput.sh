# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: h200-max-throughput (suites/h200/max-throughput.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# expected: 15 min measuring at target rates, 2.03 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
set -eu
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 4; done
pytest-dsr1 dataset h200-max-throughput dataset.jsonl
export PYTHONUNBUFFERED=1
export TRTLLM_DG_JIT_USE_NVCC=1
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
enable_attention_dp: true
cuda_graph_config:
  batch_sizes:
  - 128
  enable_padding: false
kv_cache_config:
  free_gpu_memory_fraction: 0.8
  enable_block_reuse: false
DSR1_OPTIONS
trtllm-bench \
  --model deepseek-ai/DeepSeek-R1 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1" \
  throughput \
  --dataset dataset.jsonl \
  --tp 8 \
  --num_requests 5120 \
  --concurrency 1024 \
  --warmup 0 \
  --ep 8 \
  --max_batch_size 128 \
  --max_num_tokens 1151 \
  --kv_cache_free_gpu_mem_fraction 0.8 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json
