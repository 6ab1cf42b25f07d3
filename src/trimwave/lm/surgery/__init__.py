"""Real models cut, scored, pruned and saved."""
