"""The engines that answer the requests of a scenario, one folder per engine."""
