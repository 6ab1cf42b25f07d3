"""What frozen blocks make of a row, computed once and kept: the state cache."""
