# pytest-dsr1 starts and stops this server: vllm serve CACHE/models/random-1bae4afde5049b53 --host 127.0.0.1 --port 8000 --max-num-seqs 256 --max-num-batched-tokens 8192 --max-model-len 4096 --gpu-memory-utilization 0.9 --load-format dummy --no-enable-prefix-caching --disable-uvicorn-access-log
# scenario: slice-h200-vllm-c1 (suites/slice-h200/vllm-c1.yaml)
# machine: 1 x NVIDIA H200, at least 139 GiB each
# expected: unknown, because no target gives a token rate
pytest --dsr1-profile=slice-h200-vllm-c1
