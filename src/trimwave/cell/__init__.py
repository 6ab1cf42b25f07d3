"""Who the clients are and how they hear the base station."""
