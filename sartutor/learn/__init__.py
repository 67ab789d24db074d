"""Floor 3: everything that needs torch."""
