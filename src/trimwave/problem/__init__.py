"""P1 with its constraints C1 to C5, and its answer."""
