# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-mlperf-interactive (suites/b200/mlperf-interactive.yaml)
# machine: 8 x NVIDIA B200, at least 178 GiB each, driver 570.148 or newer
# expected: 11 min measuring at the rate of arrivals, 1.47 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 1; done
# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-FP4" --host 127.0.0.1 --port 8000 --tp_size 8 --ep_size 8 --max_batch_size 64 --max_num_tokens 3456 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# cuda_graph_config:
#   batch_sizes:
#   - 1
#   - 2
#   - 4
#   - 8
#   - 16
#   - 32
#   - 64
#   enable_padding: true
# kv_cache_config:
#   dtype: fp8
#   free_gpu_memory_fraction: 0.9
#   enable_block_reuse: false
# speculative_config:
#   decoding_type: MTP
#   num_nextn_predict_layers: 3
#   max_draft_len: 3
# DSR1_OPTIONS
pytest --dsr1-profile=b200-mlperf-interactive
