# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-ladder.ep-8.backend-CUTLASS.speculative_config-null.TRTLLM_ENABLE_PDL-0 (suites/b200/min-latency-ladder.yaml)
# sweep: b200-min-latency-ladder, 6 points, 6 engine starts, the time of 6 points is unknown
# point: ep-8.backend-CUTLASS.speculative_config-null.TRTLLM_ENABLE_PDL-0
# machine: 8 x NVIDIA B200, at least 178 GiB each
# load: 10 requests of the dataset, 1,024 tokens in and 2,048 out, 1 in flight, after 2 for warm-up
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
set -eu
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 4; done
export PYTHONUNBUFFERED=1
export TRTLLM_ENABLE_PDL=0
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
moe_config:
  backend: CUTLASS
kv_cache_config:
  free_gpu_memory_fraction: 0.9
  enable_block_reuse: false
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
  --ep 8 \
  --max_batch_size 1 \
  --kv_cache_free_gpu_mem_fraction 0.9 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json

# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-ladder.ep-8.backend-CUTLASS.max_draft_len-3.TRTLLM_ENABLE_PDL-0 (suites/b200/min-latency-ladder.yaml)
# sweep: b200-min-latency-ladder, 6 points, 6 engine starts, the time of 6 points is unknown
# point: ep-8.backend-CUTLASS.max_draft_len-3.TRTLLM_ENABLE_PDL-0
# machine: 8 x NVIDIA B200, at least 178 GiB each
# load: 10 requests of the dataset, 1,024 tokens in and 2,048 out, 1 in flight, after 2 for warm-up
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
set -eu
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 4; done
export PYTHONUNBUFFERED=1
export TRTLLM_ENABLE_PDL=0
cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
moe_config:
  backend: CUTLASS
kv_cache_config:
  free_gpu_memory_fraction: 0.9
  enable_block_reuse: false
speculative_config:
  decoding_type: MTP
  num_nextn_predict_layers: 3
  max_draft_len: 3
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
  --ep 8 \
  --max_batch_size 1 \
  --kv_cache_free_gpu_mem_fraction 0.9 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json

# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-ladder.ep-8.backend-CUTLASS.TRTLLM_ENABLE_PDL-1 (suites/b200/min-latency-ladder.yaml)
# sweep: b200-min-latency-ladder, 6 points, 6 engine starts, the time of 6 points is unknown
# point: ep-8.backend-CUTLASS.TRTLLM_ENABLE_PDL-1
# machine: 8 x NVIDIA B200, at least 178 GiB each
# load: 10 requests of the dataset, 1,024 tokens in and 2,048 out, 1 in flight, after 2 for warm-up
# expected: unknown, because the scenario has no targets
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
  backend: CUTLASS
kv_cache_config:
  free_gpu_memory_fraction: 0.9
  enable_block_reuse: false
speculative_config:
  decoding_type: MTP
  num_nextn_predict_layers: 3
  max_draft_len: 3
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
  --ep 8 \
  --max_batch_size 1 \
  --kv_cache_free_gpu_mem_fraction 0.9 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json

# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-ladder.ep-4.backend-CUTLASS (suites/b200/min-latency-ladder.yaml)
# sweep: b200-min-latency-ladder, 6 points, 6 engine starts, the time of 6 points is unknown
# point: ep-4.backend-CUTLASS
# machine: 8 x NVIDIA B200, at least 178 GiB each
# load: 10 requests of the dataset, 1,024 tokens in and 2,048 out, 1 in flight, after 2 for warm-up
# expected: unknown, because the scenario has no targets
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
  backend: CUTLASS
kv_cache_config:
  free_gpu_memory_fraction: 0.9
  enable_block_reuse: false
speculative_config:
  decoding_type: MTP
  num_nextn_predict_layers: 3
  max_draft_len: 3
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
  --ep 4 \
  --max_batch_size 1 \
  --kv_cache_free_gpu_mem_fraction 0.9 \
  --extra_llm_api_options extra_llm_api_options.yaml \
  --disable_chunked_context \
  --eos_id -1 \
  --report_json report.json \
  --request_json requests.json

# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-ladder.ep-2.backend-TRTLLM (suites/b200/min-latency-ladder.yaml)
# sweep: b200-min-latency-ladder, 6 points, 6 engine starts, the time of 6 points is unknown
# point: ep-2.backend-TRTLLM
# machine: 8 x NVIDIA B200, at least 178 GiB each
# load: 10 requests of the dataset, 1,024 tokens in and 2,048 out, 1 in flight, after 2 for warm-up
# expected: unknown, because the scenario has no targets
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

# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-min-latency-ladder.124f4ec4 (suites/b200/min-latency-ladder.yaml)
# sweep: b200-min-latency-ladder, 6 points, 6 engine starts, the time of 6 points is unknown
# point: ep-2.use_relaxed_acceptance_for_thinking-true.relaxed_topk-10.relaxed_delta-0.6
# machine: 8 x NVIDIA B200, at least 178 GiB each
# load: 10 requests of the dataset, 1,024 tokens in and 2,048 out, 1 in flight, after 2 for warm-up
# expected: unknown, because the scenario has no targets
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
