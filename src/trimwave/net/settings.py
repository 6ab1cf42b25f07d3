"""What the user of a machine says of it as a device."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What this machine's user says of it."""

    name: str
    """The client's id; a number where clients have none."""
    cache: Path
    """Folder of its blobs."""
    data: str | None = None
    """Its own rows, a file or a folder; None = the rows that the recipe deals to it."""
    blobs: str | None = None
    """Base URL of the file route, where it is not reached as the server says."""
    host: str = "127.0.0.1"
    """The server, where its URLs name none."""
    ca: str | None = None
    """Certificate that the server's is checked with; None = those of the system."""
    quota_bytes: int | None = None
    """Most that blobs may take on the disk; None = what the run keeps."""
