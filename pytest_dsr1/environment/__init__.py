"""Where it is measured: GPUs, set-up and restore, telemetry, preflight, fingerprint."""
