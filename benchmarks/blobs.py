"""What the file route takes: seconds, memory of the server, bytes on the wire.

Clients are processes of their own on loopback, each with a cache of its own; the
server is one too. Bytes on the wire are those of the kernel's loopback device, TCP and
IP headers and acknowledgements among them, so nothing else should use it meanwhile.

    python benchmarks/blobs.py                       # 8 clients, 360 MiB each
    python benchmarks/blobs.py --clients 2 --mib 64  # a look
"""

import argparse
import hashlib
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from trimwave.net.blobs.cache import BlobCache
from trimwave.net.blobs.fetch import fetch
from trimwave.net.blobs.route import BlobServer

MIB = 1 << 20


def loopback_bytes():
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[8])
    return 0


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(folder, num_clients, pipe):
    with BlobServer(folder, host="127.0.0.1") as server:
        before_mib = peak_mib()
        pipe.send((server.url, [server.grant(str(k)) for k in range(num_clients)]))
        pipe.recv()
        pipe.send((before_mib, peak_mib()))


def take(url, token, digest, num_bytes, folder, start, taken):
    start.wait()
    cache = BlobCache(folder)
    got = fetch(digest, num_bytes, [f"{url}/blobs"], cache, token=token)
    taken.put((got.ended_s - got.started_s, peak_mib()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--mib", type=int, default=360)
    asked = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "blobs")
        folder.mkdir()
        block, digest = hashlib.shake_256(b"blob").digest(MIB), hashlib.sha256()
        with (folder / "draft").open("wb") as file:
            for _ in range(asked.mib):
                file.write(block)
                digest.update(block)
        blob = digest.hexdigest()
        (folder / "draft").rename(folder / blob)
        pipe, other = spawn.Pipe()
        server = spawn.Process(target=serve, args=(folder, asked.clients, other))
        server.start()
        url, tokens = pipe.recv()
        start, taken = spawn.Event(), spawn.Queue()
        clients = [
            spawn.Process(
                target=take,
                args=(url, token, blob, asked.mib * MIB, Path(name, str(k)))
                + (start, taken),
            )
            for k, token in enumerate(tokens)
        ]
        for client in clients:
            client.start()
        time.sleep(0.5 * asked.clients)  # until all are loaded
        wire, started = loopback_bytes(), time.monotonic()
        start.set()
        results = [taken.get(timeout=600) for _ in clients]
        all_s, wire = time.monotonic() - started, loopback_bytes() - wire
        for client in clients:
            client.join()
        pipe.send("stop")
        before_mib, after_mib = pipe.recv()
        server.join()
    payload = asked.clients * asked.mib * MIB
    print(f"clients, each {asked.mib} MiB at once   {asked.clients:10d}")
    print(f"seconds, all                  {all_s:10.1f}")
    print(f"seconds, slowest client       {max(s for s, _ in results):10.1f}")
    print(f"server's peak, MiB            {after_mib:10.1f}")
    print(f"  of it sending, MiB          {after_mib - before_mib:10.1f}")
    print(f"  against one blob            {(after_mib - before_mib) / asked.mib:10.3f}")
    print(f"largest client's peak, MiB    {max(m for _, m in results):10.1f}")
    print(f"bytes on the wire             {wire:10d}")
    print(f"  beyond the payload          {wire / payload - 1:10.3%}")


if __name__ == "__main__":
    main()
