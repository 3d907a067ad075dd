"""The machine: its GPUs, preflight, set-up, telemetry, fingerprint."""
