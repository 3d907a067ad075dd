# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: h200-perf-sanity-8192-1024-c1 (suites/h200/perf-sanity-8192-1024-c1.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# load: 10 requests of the dataset, 8,192 tokens in and 1,024 out, 1 in flight, streamed
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
# warning: suites/h200/perf-sanity-1024-1024-c1.yaml:53: engine.llm_api.cuda_graph_config.max_batch_size: expected the largest CUDA graph to be for engine.max_batch_size, 512 requests; found 1
# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528" --host 127.0.0.1 --port 8000 --tp_size 8 --ep_size 8 --max_batch_size 512 --max_num_tokens 10304 --max_seq_len 9416 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# cuda_graph_config:
#   max_batch_size: 1
#   enable_padding: true
# moe_config:
#   backend: CUTLASS
# kv_cache_config:
#   dtype: fp8
#   free_gpu_memory_fraction: 0.8
#   enable_block_reuse: false
# speculative_config:
#   decoding_type: MTP
#   num_nextn_predict_layers: 3
#   max_draft_len: 3
# print_iter_log: true
# stream_interval: 10
# trust_remote_code: true
# DSR1_OPTIONS
pytest --dsr1-profile=h200-perf-sanity-8192-1024-c1
