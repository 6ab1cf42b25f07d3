"""A run over a real network: processes, messages, blobs, links (extra ``flower``).

The round loop stays `trimwave.runs`; Flower carries messages, and knows the nodes.
"""

PORT, BLOB_PORT = 8180, 8181
"""Where a server listens unless it is told otherwise: for Flower, and for blobs."""
