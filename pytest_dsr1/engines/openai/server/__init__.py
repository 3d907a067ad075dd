"""The server: started, sampled, reused."""
