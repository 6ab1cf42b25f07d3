"""Links between the processes of one machine, each direction held to a rate.

`relays` does it in this process and asks for nothing; `kernel` gives each client a
network of its own, shaped by `tc`, and asks for root. `meter` tells when bytes passed.
"""
