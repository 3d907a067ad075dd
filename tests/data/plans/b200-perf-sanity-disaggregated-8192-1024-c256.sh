# disaggregated servers: each is a step of Slurm on nodes of its own
# scenario: b200-perf-sanity-disaggregated-8192-1024-c256 (suites/b200/perf-sanity-disaggregated-8192-1024-c256.yaml)
# machine: 12 x NVIDIA B200 on 2 nodes, at least 178 GiB each
# Slurm: this script runs on the first node: sbatch --no-requeue --signal=B:TERM@120 --gpus-per-node=8 --exclusive --nodes=2 '--wrap=exec sh SCRIPT'
# load: 2,560 requests of random tokens, 8,192 tokens in and 1,024 out, 256 in flight, streamed
# expected: unknown, because the scenario has no targets
# acceptance length 2 forced: compare no figure with one of natural acceptance
# set first: export DSR1_MODELS=...
# generation server 1, on node 1 of the job:
# newest known dialect 1.3: tensorrt_llm is not installed
# pytest-dsr1 starts and stops this server: TLLM_LOG_LEVEL=INFO TRTLLM_SERVER_DISABLE_GC=1 TRTLLM_WORKER_DISABLE_GC=1 TRTLLM_ENABLE_PDL=1 ENROOT_ALLOW_DEV=yes TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=1 srun --mpi=pmix --nodes=1 --ntasks=8 --ntasks-per-node=8 --distribution=block --export=ALL --wait=0 --kill-on-bad-exit=1 --cpu-bind=none --job-name=dsr1-generation-1 --relative=0 env -u UCX_TLS trtllm-llmapi-launch trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528-FP4-v2" --host 0.0.0.0 --port 8001 --tp_size 8 --pp_size 1 --ep_size 8 --max_batch_size 32 --max_num_tokens 128 --extra_llm_api_options generation.yaml
# cat > generation.yaml <<'DSR1_OPTIONS'
# enable_attention_dp: true
# cuda_graph_config:
#   max_batch_size: 32
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
# context server 1, on node 2 of the job:
# newest known dialect 1.3: tensorrt_llm is not installed
# pytest-dsr1 starts and stops this server: TLLM_LOG_LEVEL=INFO TRTLLM_SERVER_DISABLE_GC=1 TRTLLM_WORKER_DISABLE_GC=1 TRTLLM_ENABLE_PDL=1 ENROOT_ALLOW_DEV=yes TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=1 srun --mpi=pmix --nodes=1 --ntasks=4 --ntasks-per-node=4 --distribution=block --export=ALL --wait=0 --kill-on-bad-exit=1 --cpu-bind=none --job-name=dsr1-context-1 --relative=1 env -u UCX_TLS trtllm-llmapi-launch trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528-FP4-v2" --host 0.0.0.0 --port 8002 --tp_size 4 --pp_size 1 --ep_size 4 --max_batch_size 2 --max_num_tokens 16384 --extra_llm_api_options context.yaml
# cat > context.yaml <<'DSR1_OPTIONS'
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
# the front end, which passes requests on, on node 1:
# pytest-dsr1 starts and stops this server: TRTLLM_SERVER_DISABLE_GC=1 srun --mpi=none --nodes=1 --ntasks=1 --relative=0 --overlap --export=ALL --cpu-bind=none --wait=0 --job-name=dsr1-front-end trtllm-serve disaggregated -c disaggregated.yaml -t 3600 -r 7200
# cat > disaggregated.yaml <<'DSR1_OPTIONS'
# hostname: 127.0.0.1
# port: 8000
# backend: pytorch
# context_servers:
#   num_instances: 1
#   urls:
#   - NODE2:8002
# generation_servers:
#   num_instances: 1
#   urls:
#   - NODE1:8001
# DSR1_OPTIONS
exec pytest --dsr1-profile=b200-perf-sanity-disaggregated-8192-1024-c256
