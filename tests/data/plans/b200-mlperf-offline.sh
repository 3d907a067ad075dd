# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-mlperf-offline (suites/b200/mlperf-offline.yaml)
# machine: 8 x NVIDIA B200, at least 178 GiB each, driver 570.148 or newer
# load: 24,576 requests of the dataset, 800 tokens in and 3,886 out, all at once, after 2 for warm-up
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
set -eu
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 1; done
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
  --model nvidia/DeepSeek-R1-FP4 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1-FP4" \
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
