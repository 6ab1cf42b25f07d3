"""What travels between server and client, as bytes."""
