# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: gb300-mlperf-server (suites/gb300/mlperf-server.yaml)
# machine: 4 x NVIDIA GB300, at least 270 GiB each
# expected: 13 min measuring at the rate of arrivals, 0.84 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-FP4" --host 127.0.0.1 --port 8000 --tp_size 4 --ep_size 4 --max_batch_size 512 --max_num_tokens 3456 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# enable_attention_dp: true
# cuda_graph_config:
#   batch_sizes:
#   - 128
#   - 256
#   - 384
#   - 512
#   enable_padding: true
# kv_cache_config:
#   dtype: fp8
#   free_gpu_memory_fraction: 0.9
#   enable_block_reuse: false
# DSR1_OPTIONS
pytest --dsr1-profile=gb300-mlperf-server
