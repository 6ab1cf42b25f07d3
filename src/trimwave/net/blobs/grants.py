"""Which nodes may fetch blobs, at what pace, and what each was sent."""

import math
import secrets
import threading
from dataclasses import dataclass, field

from trimwave.base.errors import InputError
from trimwave.net.links.pace import Pace

TOKEN_BYTES = 32


@dataclass
class Node:
    """One node, as the route knows it."""

    token: bytes | None = None
    """None = it may not fetch."""
    pace: Pace = field(default_factory=Pace)
    sent_bytes: int = 0


class Grants:
    """Nodes by name; for several threads."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._turn = threading.Lock()

    def grant(self, node: str) -> str:
        """Return a new token of a node, in place of the one it had."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._node(node).token = token.encode()
        return token

    def revoke(self, node: str) -> None:
        """Let a node fetch no more; what it is being sent ends."""
        self._node(node).token = None

    def set_pace(self, node: str, rate_bps: float | None) -> None:
        """Set what a node's transfers together are held to [bit/s].

        Raises
        ------
        InputError
            If it is not positive.
        """
        if rate_bps is not None and not rate_bps > 0:
            raise InputError(
                f"the pace of node {node} must be positive, got {rate_bps:g} bit/s; "
                "None sends as fast as it goes."
            )
        paced = rate_bps is not None and math.isfinite(rate_bps)
        self._node(node).pace.rate_bps = rate_bps if paced else None

    def sent_bytes(self, node: str) -> int:
        """Return what a node was sent of blobs so far [byte]."""
        return self._node(node).sent_bytes

    def holder(self, token: bytes) -> Node | None:
        """Return the node that a token was given to; as slow for any that is none."""
        found = None
        with self._turn:
            nodes = [*self._nodes.values()]
        for node in nodes:
            own = node.token
            if own is not None and secrets.compare_digest(own, token):
                found = node
        return found

    def _node(self, name: str) -> Node:
        with self._turn:
            return self._nodes.setdefault(name, Node())
