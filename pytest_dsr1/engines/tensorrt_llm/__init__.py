"""The engines that run TensorRT-LLM."""
