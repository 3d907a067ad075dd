# pytest-dsr1 starts and stops this server: vllm serve "${DSR1_MODELS}/DeepSeek-R1-0528" --host 127.0.0.1 --port 8000 --tensor-parallel-size 8 --enable-expert-parallel --max-num-seqs 256 --max-num-batched-tokens 8192 --max-model-len 2304 --gpu-memory-utilization 0.9 --no-enable-prefix-caching --disable-uvicorn-access-log
# scenario: h200-pair-vllm (suites/h200/pair-vllm.yaml)
# machine: 8 x NVIDIA H200, at least 139 GiB each
# load: 2,560 requests of random tokens, 1,024 tokens in and 1,024 out, 256 in flight, streamed, after 256 for warm-up
# expected: unknown, because the scenario has no targets
# set first: export DSR1_MODELS=...
pytest --dsr1-profile=h200-pair-vllm
