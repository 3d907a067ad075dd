"""The load on the servers: sent by one event loop in this process, or divided among several processes."""
