"""Reports: read records, nothing else. Tables by rich, pictures by matplotlib."""
