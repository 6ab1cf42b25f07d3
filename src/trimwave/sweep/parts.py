"""The finished points of a sweep: Parquet files, and the list of their digests.

The list has the format of ``sha256sum``, so that ``sha256sum -c SHA256SUMS`` in the
sweep's folder checks them too.
"""

import hashlib
import warnings
from pathlib import Path

from trimwave.base.errors import DamagedError
from trimwave.base.stored import disk_errors, sha256_of, write_atomic

LIST = "SHA256SUMS"


class Parts:
    """What a sweep's folder holds of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with disk_errors(folder, "nothing was planned", "sweep again"):
            self._digests = _listed(folder)

    def path_of(self, file: str) -> Path:
        """Return where a point's file is."""
        return self._folder / "parts" / file

    def has(self, part: Path) -> bool:
        """Whether a point is there as it was written; warns where it is damaged."""
        with disk_errors(part, "nothing was planned", "sweep again"):
            if not part.exists():
                return False
            if sha256_of(part) == self._digests.get(part.name):
                return True
        warnings.warn(
            f"{part} does not match its digest in {LIST}; it is planned again.",
            stacklevel=4,
        )
        return False

    def add(self, part: Path, content: bytes) -> None:
        """Write a finished point whole or not at all.

        Raises
        ------
        RunError
            If the disk is full or not writable; the points before are saved.
        """
        digests = self._digests | {part.name: hashlib.sha256(content).hexdigest()}
        listed = (f"{digest}  parts/{name}\n" for name, digest in digests.items())
        with disk_errors(part.parent, "this point is not saved", "sweep again"):
            # A kill between the two leaves a file that is not listed: planned again.
            write_atomic(part, content)
            write_atomic(self._folder / LIST, "".join(listed))
        self._digests = digests

    def content(self, part: Path) -> bytes:
        """Read a point's file.

        Raises
        ------
        DamagedError
            If it is not what was written.
        """
        with disk_errors(part, "the sweep is as it was", "sweep again"):
            content = part.read_bytes()
        if hashlib.sha256(content).hexdigest() != self._digests.get(part.name):
            raise DamagedError(
                f"{part} does not match its digest in {LIST}; sweep again, which plans "
                "it anew."
            )
        return content


def _listed(folder: Path) -> dict[str, str]:
    """Return digests by file name; what is no line of the list counts for nothing."""
    path = folder / LIST
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    pairs = (line.split() for line in text.splitlines())
    return {Path(pair[1]).name: pair[0] for pair in pairs if len(pair) == 2}
