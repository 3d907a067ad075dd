"""The cause of a bad result: the machine, the options or the software."""
