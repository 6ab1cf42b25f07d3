"""From rows to batches of tokens."""
