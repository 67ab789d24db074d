"""The embedded checkpoints, each with a card beside it."""
