"""trimwave: fine-tune a language model over slow, unequal wireless links."""
