"""Workloads: the requests to send, and the checkpoint that answers them."""
