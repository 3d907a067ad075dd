"""The engine `trtllm-bench`."""
