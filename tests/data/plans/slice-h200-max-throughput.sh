# engine transformers, with the PyTorch of this environment
# scenario: slice-h200-max-throughput (suites/slice-h200/max-throughput.yaml)
# machine: 1 x NVIDIA H200, at least 139 GiB each
# expected: 36 s measuring at target rates, 0.01 GPU-hours, plus loading the weights
pytest --dsr1-profile=slice-h200-max-throughput
