"""The nodes of a Slurm allocation, each looked at, set up and watched by an agent of its own."""
