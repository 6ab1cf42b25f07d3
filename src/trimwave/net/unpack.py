"""What a device trains with, from a letter and the blobs that it names."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from safetensors.torch import load

from trimwave.base.units import BITS_PER_BYTE
from trimwave.lm.learnt import Learnt, with_learnt
from trimwave.lm.states.prefix import Prefix
from trimwave.lm.wire.ledger import Tensors, bare, by_part, parameters_of
from trimwave.lm.wire.package import AIR_DTYPES
from trimwave.lm.wire.small import unpacked
from trimwave.net.joined import File, Joined
from trimwave.net.letter import Letter
from trimwave.net.shelf import Shelf

Merge = Callable[[Tensors], Tensors]
"""Weights of installed blocks, to what finished stages have made of them."""


def files_of(letter: Letter) -> list[File]:
    """Return the blobs that lie there before a round begins, all but the prefix."""
    head = letter.head
    finished = [file for _, *file in head["finished"]]
    return [*head["slices"], *head["blobs"], *head["installed"], *finished]


def package_of(
    letter: Letter, joined: Joined, shelf: Shelf
) -> tuple[Tensors, Prefix | None]:
    """Return the tensors of a round, and the frozen blocks that run one by one.

    The letter's own, those of blobs, and slices put together.
    """
    head, merge = letter.head, _merge_of(letter, joined, shelf)
    package: Tensors = unpacked(load(letter.body))
    for file in head["blobs"]:
        package |= load(shelf.read(file))
    for file in head["installed"]:
        package |= merge(load(shelf.read(file)))
    slices = [load(shelf.read(file)) for file in head["slices"]]
    units = {int(block): (g, n) for block, (g, n) in head["units"].items()}
    slicer = joined.slicer
    package |= slicer.between(slicer.joined(slices), {}, units)
    return package, _prefix_of(letter, merge, shelf)


def _merge_of(letter: Letter, joined: Joined, shelf: Shelf) -> Merge:
    """Return what turns a blob's weights into those that this stage starts from."""
    arch, bits = joined.base.arch, joined.kit.config.model.bits_per_param
    names = {bare(name): name for name in parameters_of(joined.base)}
    stages = [
        Learnt(
            tensors=load(shelf.read(file)),
            lora_alpha=alpha,
            num_bits=BITS_PER_BYTE * file[1],
        )
        for alpha, *file in letter.head["finished"]
    ]

    def merge(tensors: Tensors) -> Tensors:
        for one in stages:
            tensors = with_learnt(tensors, one, arch, AIR_DTYPES[bits])
        return {names.get(name, name): value for name, value in tensors.items()}

    return merge


def _prefix_of(letter: Letter, merge: Merge, shelf: Shelf) -> Prefix | None:
    """Return the frozen blocks that run one by one, if there are such.

    The next is fetched and read while one is at work.
    """
    head = letter.head
    files = [(number, file) for number, *file in head["prefix"]]
    if not files:
        return None

    def block(number: int, file: File) -> tuple[int, Tensors]:
        return number, by_part(merge(load(shelf.read(file))))[number]

    def blocks() -> Iterator[tuple[int, Tensors]]:
        with ThreadPoolExecutor(1, "prefix") as pool:
            coming = pool.submit(block, *files[0])
            for following in [*files[1:], None]:
                one = coming.result()
                if following is not None:
                    coming = pool.submit(block, *following)
                yield one

    said = "".join(digest for _, (digest, _) in files)
    said += "".join(f" {alpha} {digest}" for alpha, digest, _ in head["finished"])
    return Prefix(hashlib.sha256(said.encode()).digest(), blocks)
