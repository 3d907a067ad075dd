"""The engine `trtllm`."""
