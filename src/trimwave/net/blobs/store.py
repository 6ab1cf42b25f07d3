import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Blob:
    digest: str
    num_bytes: int


class BlobStore:
    def __init__(self, folder, mirror=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, data):
        d = hashlib.sha256(data).hexdigest()
        p = self.folder / d
        if not p.exists():
            p.write_bytes(data)
        return Blob(d, len(data))

    def path(self, d):
        return self.folder / d

    def keep_only(self, ds):
        for p in self.folder.iterdir():
            if p.name not in ds:
                p.unlink()
