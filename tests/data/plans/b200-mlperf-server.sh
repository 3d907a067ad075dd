# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-mlperf-server (suites/b200/mlperf-server.yaml)
# machine: 8 x NVIDIA B200, at least 178 GiB each, driver 570.148 or newer
# expected: 15 min measuring at the rate of arrivals, 2.04 GPU-hours, plus loading the weights
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 0; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done
for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost 1; done
# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-FP4" --host 127.0.0.1 --port 8000 --tp_size 8 --ep_size 8 --max_batch_size 512 --max_num_tokens 3456 --extra_llm_api_options extra_llm_api_options.yaml
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
pytest --dsr1-profile=b200-mlperf-server
