"""Tools that know nothing of the project."""
