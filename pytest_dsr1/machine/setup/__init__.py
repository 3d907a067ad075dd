"""GPU settings: check, apply, restore."""
