"""Dataset layouts: one module each, found by its name."""
