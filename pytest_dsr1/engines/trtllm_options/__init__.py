"""The options file of TensorRT-LLM's LLM API: its keys, and their names by version."""
