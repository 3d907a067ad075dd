"""The engine `openai`: any OpenAI-compatible server."""
