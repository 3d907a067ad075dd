# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: h200-pair-trtllm-serve (suites/h200/pair-trtllm-serve.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# load: 2,560 requests of random tokens, 1,024 tokens in and 1,024 out, 256 in flight, streamed, after 256 for warm-up
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528" --host 127.0.0.1 --port 8000 --tp_size 8 --ep_size 8 --max_batch_size 256 --max_num_tokens 8192 --max_seq_len 2304 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# kv_cache_config:
#   free_gpu_memory_fraction: 0.8
#   enable_block_reuse: false
# DSR1_OPTIONS
pytest --dsr1-profile=h200-pair-trtllm-serve
