"""The data plane: blobs named by their SHA-256, over a plain HTTP(S) file route.

The server keeps them in a folder (`store`) and sends them (`route`); a device fetches
them (`fetch`) into a folder of its own (`cache`).
"""
