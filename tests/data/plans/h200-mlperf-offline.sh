# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: h200-mlperf-offline (suites/h200/mlperf-offline.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# load: 24,576 requests of the dataset, 800 tokens in and 3,886 out, all at once, after 2 for warm-up
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
set -eu
export PYTHONUNBUFFERED=1
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
enable_attention_dp: true
cuda_graph_config:
  batch_sizes:
  - 128
  - 256
  - 384
  - 512
  enable_padding: true
kv_cache_config:
  dtype: fp8
  free_gpu_memory_fraction: 0.9
  enable_block_reuse: false
DSR1_OPTIONS
trtllm-bench \
  --model deepseek-ai/DeepSeek-R1 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1" \
  throughput \
  --dataset "${DSR1_DATASET}" \
  --tp 8 \
  --num_requests 24576 \
  --warmup 2 \
  --ep 8 \
  --max_batch_size 512 \
  --max_num_tokens 4608 \
  --kv_cache_free_gpu_mem_fraction 0.9 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json
