# newest known dialect 1.3: tensorrt_llm is not installed
# scenario: b200-perf-sanity-2-nodes-1024-1024-c1024 (suites/b200/perf-sanity-2-nodes-1024-1024-c1024.yaml)
# machine: 16 x NVIDIA B200 on 2 nodes, at least 178 GiB each
# Slurm: this script runs on the first node: sbatch --no-requeue --signal=B:TERM@120 --gpus-per-node=8 --exclusive --nodes=2 '--wrap=exec sh SCRIPT'
# load: 10,240 requests of random tokens, 1,024 tokens in and 1,024 out, 1,024 in flight, streamed
# expected: unknown, because the scenario has no targets
# acceptance length 2 forced: compare no figure with one of natural acceptance
# set first: export DSR1_MODELS=...
# warning: suites/b200/perf-sanity-2-nodes-1024-1024-c1024.yaml:38: load.concurrency: expected 8192, because with attention data parallelism each of 16 ranks takes 512 requests (engine.max_batch_size); found 1024
# pytest-dsr1 starts and stops this server: TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=1 srun --mpi=pmix --nodes=2 --ntasks=16 --ntasks-per-node=8 --distribution=block --export=ALL --wait=0 --kill-on-bad-exit=1 --cpu-bind=none --job-name=dsr1-engine --relative=0 trtllm-llmapi-launch trtllm-serve "${DSR1_MODELS}/DeepSeek-R1-0528-FP4-v2" --host 127.0.0.1 --port 8000 --tp_size 16 --pp_size 1 --ep_size 16 --max_batch_size 512 --max_num_tokens 8192 --extra_llm_api_options extra_llm_api_options.yaml
# cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'
# enable_attention_dp: true
# attention_dp_config:
#   enable_balance: true
#   batching_wait_iters: 0
#   timeout_iters: 60
# cuda_graph_config:
#   max_batch_size: 512
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
# attn_backend: TRTLLM
# DSR1_OPTIONS
exec pytest --dsr1-profile=b200-perf-sanity-2-nodes-1024-1024-c1024
