# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-relaxed (suites/b200/min-latency-relaxed.yaml)
# machine: 8 x NVIDIA B200, at least 178 GiB each
# expected: 56 s measuring at target rates, 0.12 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
set -eu
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 4; done
export PYTHONUNBUFFERED=1
export TRTLLM_ENABLE_PDL=1
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
moe_config:
  backend: TRTLLM
kv_cache_config:
  free_gpu_memory_fraction: 0.9
  enable_block_reuse: false
speculative_config:
  decoding_type: MTP
  num_nextn_predict_layers: 3
  max_draft_len: 3
  use_relaxed_acceptance_for_thinking: true
  relaxed_topk: 10
  relaxed_delta: 0.6
DSR1_OPTIONS
trtllm-bench \
  --model nvidia/DeepSeek-R1-FP4 \
  --model_path "${DSR1_MODELS}/DeepSeek-R1-FP4" \
  throughput \
  --dataset "${DSR1_DATASET}" \
  --tp 8 \
  --num_requests 10 \
  --concurrency 1 \
  --warmup 2 \
  --ep 2 \
  --max_batch_size 1 \
  --kv_cache_free_gpu_mem_fraction 0.9 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json
