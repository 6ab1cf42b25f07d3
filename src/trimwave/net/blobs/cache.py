from pathlib import Path


class BlobCache:
    def __init__(self, folder, quota):
        self.folder = Path(folder) / "blobs"
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, d):
        p = self.folder / d
        return p if p.exists() else None

    def evict(self, pinned):
        for p in self.folder.iterdir():
            if p.name not in pinned:
                p.unlink()
