# engine transformers, with the PyTorch of this environment
# scenario: cpu-min-latency (suites/cpu/min-latency.yaml)
# machine: any CPU
# expected: at most 11 s measuring if the targets are met
pytest --dsr1-profile=cpu-min-latency
