"""What a sub-model is and what it costs."""
