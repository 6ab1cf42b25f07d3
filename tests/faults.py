"""What may happen to a file and to a disk, for tests and `benchmarks/faults.py`."""

import json
import os
import random
import sys
from contextlib import contextmanager


def cut(data, rng):
    return data[: rng.randrange(len(data))] if data else data


def flip(data, rng):
    """Change one bit."""
    if not data:
        return b"\x00"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def zero(data, rng):
    """Blank a stretch, as a disk does that lost a block."""
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.randrange(1, 64))
    return data[:start] + bytes(stop - start) + data[stop:]


def digit(data, rng):
    """Change one digit, so that JSON stays JSON."""
    places = [at for at, byte in enumerate(data) if chr(byte).isdecimal()]
    if not places:
        return flip(data, rng)
    at = rng.choice(places)
    other = rng.choice([one for one in b"0123456789" if one != data[at]])
    return data[:at] + bytes([other]) + data[at + 1 :]


def double(data, rng):
    return data + data


def garbage(data, rng):
    return data + rng.randbytes(rng.randrange(1, 40))


def empty(data, rng):
    return b""


def delete(data, rng):
    return None


def other_json(data, rng):
    """Put valid JSON of another shape in its place."""
    shapes = (None, [], {}, 1, "text", [[]], {"config": 1}, {"round": "a"}, [{}] * 3)
    too_deep = "[" * 9999
    return rng.choice([*map(json.dumps, shapes), too_deep]).encode()


def less_json(data, rng):
    """Drop a key of a JSON object, or change a value's type."""
    try:
        content = json.loads(data)
    except ValueError:
        return flip(data, rng)
    if not isinstance(content, dict) or not content:
        return b"{}"
    key = rng.choice(sorted(content))
    others = ([content[key]], None, True, -1, 0, 1.5, "x", [], {}, 10**30)
    if rng.random() < 0.3:
        del content[key]
    else:
        content[key] = rng.choice(others)
    return json.dumps(content, indent=2).encode()


def swap_lines(data, rng):
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


MUTATIONS = (
    cut,
    flip,
    zero,
    digit,
    double,
    garbage,
    empty,
    delete,
    other_json,
    less_json,
    swap_lines,
)


def mutations(files):
    """Draw what happens to a file of a folder: its name, a mutation, its seed."""
    from hypothesis import strategies as st

    file, seed = st.sampled_from(sorted(files)), st.integers(0, 9999)
    return st.tuples(file, st.sampled_from(MUTATIONS), seed)


def mutate(path, mutation, seed):
    """Spoil a file; whether its bytes are others now."""
    before = path.read_bytes()
    after = mutation(before, random.Random(seed))
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)
    return after != before


class Disk:
    """Fails what touches a folder from some operation on; see `failing_disk`."""

    def __init__(self):
        self.folder = None
        self.left = None
        self.code = 0
        self.reads_fail = False

    def hear(self, event, arguments):
        """Count an audit event of Python's; raise in place of the operation."""
        if self.folder is None or event not in EVENTS:
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(self.folder):
            return
        flags = arguments[2] if event == "open" else os.O_WRONLY
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not writes and not self.reads_fail:
            return
        if self.left > 0:
            self.left -= 1
            return
        raise OSError(self.code, os.strerror(self.code), os.fsdecode(path))


EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
DISK = Disk()
sys.addaudithook(DISK.hear)


@contextmanager
def failing_disk(folder, code, after=0, reads_fail=False):
    """Let a number of operations below a folder succeed, then fail all.

    Python's own audit events stand in for the disk, so that it works as root too.
    """
    DISK.left, DISK.code, DISK.reads_fail = after, code, reads_fail
    DISK.folder = os.path.abspath(folder)
    try:
        yield DISK
    finally:
        DISK.folder = None
