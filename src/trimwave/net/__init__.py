"""A run over a real network: processes, messages, blobs, links (extra ``flower``).

The round loop stays `trimwave.runs`; Flower carries messages, and knows the nodes.
"""
