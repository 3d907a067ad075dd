"""Every metric: its name, its unit, and its formula."""
