"""Telemetry: what the GPUs did during a run."""
