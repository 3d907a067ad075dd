"""DeepSeek-R1 inference performance targets on TensorRT-LLM as pass/fail tests."""
