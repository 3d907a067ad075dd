"""Studies: runs that answer one question, each chosen by what the runs before it have shown."""
