# engine transformers, with the PyTorch of this environment
# scenario: cpu-max-throughput (suites/cpu/max-throughput.yaml)
# machine: any CPU
# expected: at most 13 s measuring if the targets are met
pytest --dsr1-profile=cpu-max-throughput
