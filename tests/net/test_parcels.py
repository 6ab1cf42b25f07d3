"""What a client holds is not sent again, whatever sizes come and who begins anew."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_run import make_server, plan_of

from trimwave.net.blobs.store import BlobStore
from trimwave.net.parcels import Packer

HEADERS = 20_000
"""Most bytes that the headers of a client's slices have together here."""


class Sent:
    """One client of a packer that may be begun anew: what it fetches and keeps."""

    def __init__(self, bench, folder, quota):
        self.bench, self.folder, self.quota = bench, folder, quota
        self.server = make_server(bench, "ubfp")
        self.submodel = plan_of(bench, self.server, "ubfp").submodels[0]
        self.begin()
        self.has = set()

    def begin(self):
        bench = self.bench
        self.packer = Packer(
            split=bench.split,
            ranking=bench.ranking,
            bits_per_param=16,
            store=BlobStore(self.folder / "blobs"),
            quota_params=self.quota,
            notes=self.folder / "kept.json",
        )

    def send(self, size, version=0, arrives=True):
        """Return the bytes that the client fetches of an emulator."""
        submodel = replace(self.submodel, emulator_params=int(size))
        delivery = self.server.deliver(submodel)
        parcel = self.packer.parcel(0, submodel, delivery, version)
        self.packer.keep_only([parcel])
        assert parcel.digests <= {
            file.name for file in (self.folder / "blobs").iterdir()
        }
        new = [one for one in parcel.slices if one.digest not in self.has]
        if arrives:
            self.packer.arrived({0: parcel})
            self.has = {*parcel.keep}
        return sum(one.num_bytes for one in new)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("part", [1.0, 0.6])
def test_only_what_is_not_held_is_fetched(bench, tmp_path, part, restarts):
    sizes = bench.costs.emulator_sizes
    quota = int(sizes[int(part * (len(sizes) - 1))])
    client, held = Sent(bench, tmp_path, quota), 0
    rng = np.random.default_rng(0)
    for step, size in enumerate([sizes[-1], *rng.choice(sizes, 12)]):
        if restarts:
            client.begin()
        arrives = step not in (2, 5)
        got, new = client.send(size, arrives=arrives), 2 * max(0, size - held)
        assert (got == 0) if not new else (new < got < new + HEADERS)
        if arrives:
            held = max(held, min(size, quota))


def test_an_emulator_that_was_aligned_is_sent_anew(bench, tmp_path):
    sizes = bench.costs.emulator_sizes
    client = Sent(bench, tmp_path, int(sizes[-1]))
    client.send(sizes[-1])
    client.begin()
    client.has = set()  # its values are others, which these here are not
    assert client.send(sizes[3], version=1) < 2 * sizes[3] + HEADERS


def test_notes_that_are_damaged_only_cost_bytes(bench, tmp_path):
    sizes = bench.costs.emulator_sizes
    client = Sent(bench, tmp_path, int(sizes[-1]))
    client.send(sizes[-2])
    for text in ("", "{}", (tmp_path / "kept.json").read_text().replace("0", "1")):
        (tmp_path / "kept.json").write_text(text)
        client.begin()
        client.has = set()
        assert 0 < client.send(sizes[-2]) < 2 * sizes[-2] + HEADERS
