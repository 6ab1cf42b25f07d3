"""Reports: read records and plans. Tables by rich, pictures by matplotlib."""
