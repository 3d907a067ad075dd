"""The engines: what answers the requests of a scenario, one folder for each."""
