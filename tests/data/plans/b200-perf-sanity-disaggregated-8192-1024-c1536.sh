# pytest-dsr1 cannot start disaggregated servers yet; it can import, check and plan the scenario
# scenario: b200-perf-sanity-disaggregated-8192-1024-c1536 (suites/b200/perf-sanity-disaggregated-8192-1024-c1536.yaml)
# machine: 12 x NVIDIA B200 on 2 nodes, at least 178 GiB each
# Slurm: this script runs on the first node: sbatch --no-requeue --signal=B:TERM@120 --gpus-per-node=6 --exclusive --nodes=2 '--wrap=sh SCRIPT'
# load: 15,360 requests of the dataset, 8,192 tokens in and 1,024 out, 1,536 in flight, streamed
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
# set first: export DSR1_DATASET=...
# context: 1 x a server on 4 GPUs
# newest known dialect 1.3: tensorrt_llm is not installed
# pytest-dsr1 starts and stops this server: TLLM_LOG_LEVEL=INFO TRTLLM_SERVER_DISABLE_GC=1 TRTLLM_WORKER_DISABLE_GC=1 TRTLLM_ENABLE_PDL=1 ENROOT_ALLOW_DEV=yes trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528-FP4-v2" --host 127.0.0.1 --port 8000 --tp_size 4 --pp_size 1 --ep_size 4 --max_batch_size 2 --max_num_tokens 16384 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# enable_attention_dp: true
# cuda_graph_config: null
# moe_config:
#   backend: CUTEDSL
#   use_low_precision_moe_combine: true
# kv_cache_config:
#   dtype: fp8
#   free_gpu_memory_fraction: 0.6
#   enable_block_reuse: false
# speculative_config:
#   decoding_type: MTP
#   num_nextn_predict_layers: 1
#   max_draft_len: 1
# print_iter_log: true
# disable_overlap_scheduler: true
# enable_lm_head_tp_in_adp: true
# context_parallel_size: 1
# cache_transceiver_config:
#   backend: NIXL
#   max_tokens_in_buffer: 16384
# DSR1_OPTIONS
# generation: 1 x a server on 8 GPUs
# newest known dialect 1.3: tensorrt_llm is not installed
# pytest-dsr1 starts and stops this server: TLLM_LOG_LEVEL=INFO TRTLLM_SERVER_DISABLE_GC=1 TRTLLM_WORKER_DISABLE_GC=1 TRTLLM_ENABLE_PDL=1 ENROOT_ALLOW_DEV=yes trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528-FP4-v2" --host 127.0.0.1 --port 8000 --tp_size 8 --pp_size 1 --ep_size 8 --max_batch_size 192 --max_num_tokens 384 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# enable_attention_dp: true
# cuda_graph_config:
#   max_batch_size: 192
#   enable_padding: true
# moe_config:
#   backend: CUTEDSL
#   use_low_precision_moe_combine: true
# kv_cache_config:
#   dtype: fp8
#   free_gpu_memory_fraction: 0.8
#   enable_block_reuse: false
# speculative_config:
#   decoding_type: MTP
#   num_nextn_predict_layers: 1
#   max_draft_len: 1
# print_iter_log: true
# stream_interval: 20
# disable_overlap_scheduler: true
# enable_lm_head_tp_in_adp: true
# context_parallel_size: 1
# num_postprocess_workers: 4
# cache_transceiver_config:
#   backend: NIXL
#   max_tokens_in_buffer: 16384
# DSR1_OPTIONS
pytest --dsr1-profile=b200-perf-sanity-disaggregated-8192-1024-c1536
