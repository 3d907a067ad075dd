"""Every metric: what it is called, its unit, and its formula."""
