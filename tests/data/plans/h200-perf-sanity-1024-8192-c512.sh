# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: h200-perf-sanity-1024-8192-c512 (suites/h200/perf-sanity-1024-8192-c512.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# load: 5,120 requests of the dataset, 1,024 tokens in and 8,192 out, 512 in flight, streamed
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
# warning: suites/h200/perf-sanity-1024-8192-c512.yaml:19: load.concurrency: expected 1024, because with attention data parallelism each of 8 ranks takes 128 requests (engine.max_batch_size); found 512
# pytest-dsr1 starts and stops this server: trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528" --host 127.0.0.1 --port 8000 --tp_size 8 --ep_size 8 --max_batch_size 128 --max_num_tokens 1344 --max_seq_len 9416 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# enable_attention_dp: true
# attention_dp_config:
#   enable_balance: true
#   batching_wait_iters: 0
#   timeout_iters: 60
# cuda_graph_config:
#   enable_padding: true
# moe_config:
#   backend: CUTLASS
# kv_cache_config:
#   dtype: fp8
#   free_gpu_memory_fraction: 0.75
#   enable_block_reuse: false
# speculative_config:
#   decoding_type: MTP
#   num_nextn_predict_layers: 1
#   max_draft_len: 1
# print_iter_log: true
# stream_interval: 10
# trust_remote_code: true
# DSR1_OPTIONS
pytest --dsr1-profile=h200-perf-sanity-1024-8192-c512
