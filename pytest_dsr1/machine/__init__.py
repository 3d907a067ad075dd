"""The machine: its GPUs, preflight, setup, telemetry, fingerprint."""
