"""What data exists: one YAML file an item, checked by `sartutor.catalog`."""
