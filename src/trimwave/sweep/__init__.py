"""Plans without training, one or many."""
