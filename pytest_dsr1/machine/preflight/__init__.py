"""The preflight: is this the machine the targets were measured on, and is it fit to measure?

All checks run, so all problems show at once. A ``mismatch`` makes the run INVALID; a ``warning`` is about
tuning. NVML is not touched for a scenario on the CPU.
"""
