"""What a testbed asks of its links, whoever shapes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where the server listens."""

    control: int
    """Flower's."""
    blobs: int
    """The file route's."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How a client reaches the server."""

    host: str
    ports: Ports
    prefix: Sequence[str] = ()
    """What the client's commands are run by, such as in a network of its own."""

    @property
    def control(self) -> str:
        """Address of Flower's server."""
        return f"{self.host}:{self.ports.control}"

    @property
    def blobs(self) -> str:
        """Base URL of the file route."""
        return f"http://{self.host}:{self.ports.blobs}/blobs"


Counts = Sequence[tuple[int, int]]
"""Bytes that have passed down to and up from each client, since the links were made."""


class Links(Protocol):
    """The links of K clients; made by entering the context, gone when it is left."""

    kind: str
    """Who shapes them, for records."""
    host: str
    ports: Ports
    """What the server listens on."""

    def __enter__(self) -> Self:
        """Make them, without a limit."""

    def __exit__(self, *raised: object) -> None:
        """Take them down."""

    def reach(self, client: int) -> Reach:
        """Return how a client reaches the server."""

    def set_rates(self, client: int, down_bps: float, up_bps: float) -> None:
        """Hold a client's two directions to rates [bit/s]; inf = no limit."""

    def counts(self) -> Counts:
        """Return what has passed so far."""
