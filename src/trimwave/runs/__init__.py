"""The round loop and what it leaves on disk."""
