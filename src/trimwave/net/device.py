"""A device of a run: joins, fetches what it is sent, trains on its rows, answers.

It knows nothing of Flower: letters come in and go out. What it has of a run lies in its
cache folder, so that a device that was killed goes on with what it had.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

from trimwave.base.errors import InputError, RunError, one_line
from trimwave.base.stored import disk_errors, read_sealed, write_sealed
from trimwave.base.units import BITS_PER_BYTE
from trimwave.lm.data.deal import rows_of_source
from trimwave.lm.data.encode import Encoded
from trimwave.lm.kit import Kit
from trimwave.lm.learnt import Learnt, with_learnt
from trimwave.lm.source.tokens import load_tokenizer
from trimwave.lm.states.cache import StateCache
from trimwave.lm.states.files import FOLDER
from trimwave.lm.states.prefix import Prefix
from trimwave.lm.wire.ledger import (
    Tensors,
    bare,
    by_part,
    parameters_of,
    where,
)
from trimwave.lm.wire.package import AIR_DTYPES
from trimwave.lm.wire.small import unpacked
from trimwave.model.submodel import Submodel
from trimwave.net.blobs.cache import BlobCache
from trimwave.net.blobs.fetch import fetch
from trimwave.net.blobs.probe import measure_uplink
from trimwave.net.held_speed import held_to
from trimwave.net.joined import File, Joined, files_to_join
from trimwave.net.letter import Letter
from trimwave.net.profile import free_bytes, measure_device
from trimwave.net.residuals import Residuals

KIT = "kit.json"
"""What the device was told when it joined, in its cache folder."""

NOT_JOINED = "this device has not joined the run"
"""In an answer: it was begun anew and knows nothing of the run."""

FRESH = "fresh_rows"
"""In an answer: rows whose states had to be computed, where states are kept."""

Finished = Callable[[Tensors], Tensors]
"""Weights of installed blocks, to what finished stages have made of them."""

READS = 3
"""Tries to read a blob; before each further one it is fetched again."""


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


@dataclass
class Spent:
    """Seconds of one letter, what was fetched, and when, on this machine's clock."""

    fetch_s: float = 0.0
    fetched_bytes: int = 0
    load_s: float = 0.0
    train_s: float = 0.0
    probe_bytes: int = 0
    probe_s: float = 0.0
    """What was sent to measure the uplink."""
    flops: float = 0.0
    """Counted while it trained, where it is held to a speed."""
    reached_s: float = field(default_factory=time.monotonic)
    fetched_at_s: float = 0.0
    done_s: float = 0.0


class Device:
    """Answers a server's letters."""

    def __init__(
        self, settings: Settings, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._settings, self._say = settings, say
        self._cache = BlobCache(settings.cache, settings.quota_bytes)
        self._run: Joined | None = None

    def answer(self, letter: Letter) -> Letter:
        """Do what a letter asks; what fails is told in the answer, in one line."""
        head = letter.head
        try:
            if head.get("op") == "join":
                return self._join(head)
            if head.get("op") == "train":
                return self._train(head, letter.body)
            raise InputError(f"unknown letter {head.get('op')!r}")
        except Exception as error:
            said = one_line(error) or type(error).__name__
            told = (
                said
                if isinstance(error, InputError | OSError)
                else (f"{type(error).__name__}: {said}")
            )
            self._say(f"error: {told}")
            return Letter({"error": told, "run": head.get("run")})

    def _join(self, head: Mapping[str, Any]) -> Letter:
        spent = Spent()
        self._fetch(files_to_join(head), head, spent)
        with disk_errors(self._settings.cache, "the run is not joined", "join again"):
            write_sealed(self._settings.cache / KIT, head)
        joined = self._joined(head, spent)
        own = joined.own_rows
        profile = measure_device(joined.kit, joined.base)
        spent.probe_bytes, spent.probe_s = measure_uplink(
            self._route(head), head["token"], self._settings.ca or True
        )
        rows = "the rows dealt to it" if own is None else f"{len(own)} rows"
        self._say(
            f"joined: {joined.kit.config.model.name}, {rows}, "
            f"{profile['speed_flops_per_s'] / 1e9:.1f} GFLOP/s, "
            f"{profile['memory_bytes'] / 1e9:.1f} GB free"
        )
        return Letter(
            {
                "run": head["run"],
                "name": self._settings.name,
                "num_samples": None if own is None else len(own),
                "profile": profile,
                "spent": asdict(spent),
            }
        )

    def _train(self, head: Mapping[str, Any], body: bytes) -> Letter:
        spent = Spent()
        joined = self._known(head, spent)
        submodel = Submodel.from_dict(head["submodel"])
        wanted = [*head["slices"], *head["blobs"], *head["installed"]]
        wanted += [file for _, *file in head["finished"]]
        self._fetch(wanted, head, spent)
        started = spent.fetched_at_s = time.monotonic()
        finished = self._finished(head, joined, spent)
        package = self._package(head, body, finished, spent)
        residuals = Residuals(self._settings.cache)
        client = joined.client(head["number"])
        client.residual.clear()
        client.residual.update(residuals.before(joined.key, head["round"]))
        spent.load_s = time.monotonic() - started
        started = time.monotonic()
        with held_to(head.get("speed_flops_per_s")) as counted:
            update = client.fine_tune(
                package, submodel, head["round"], self._prefix(head, finished, spent)
            )
        spent.flops = counted.flops
        spent.done_s = time.monotonic()
        spent.train_s = spent.done_s - started
        self._say(
            f"round {head['round']}: fetched {spent.fetched_bytes / 2**20:.1f} MiB in "
            f"{spent.fetch_s:.1f} s, trained {spent.train_s:.1f} s, loss "
            f"{update.train_loss:.3f}"
        )
        residuals.keep(joined.key, head["round"], client.residual)
        self._cache.evict({*head["keep"], *joined.digests})
        device = next(joined.base.adapter.parameters()).device
        return Letter(
            {
                "run": head["run"],
                "round": head["round"],
                "number": head["number"],
                "num_samples": len(client.rows),
                "train_loss": update.train_loss,
                **({} if client.states is None else {FRESH: update.fresh_rows}),
                "memory_bytes": free_bytes(device),
                "spent": asdict(spent),
            },
            client.wire.encode(where(update.delta, submodel.travels_up)),
        )

    def _finished(
        self, head: Mapping[str, Any], joined: Joined, spent: Spent
    ) -> Finished:
        """Return what turns a blob's weights into those that this stage starts from."""
        arch, bits = joined.base.arch, joined.kit.config.model.bits_per_param
        names = {bare(name): name for name in parameters_of(joined.base)}
        stages = [
            Learnt(
                tensors=load(self._read(file, head, spent)),
                lora_alpha=alpha,
                num_bits=BITS_PER_BYTE * file[1],
            )
            for alpha, *file in head["finished"]
        ]

        def merged(tensors: Tensors) -> Tensors:
            for one in stages:
                tensors = with_learnt(tensors, one, arch, AIR_DTYPES[bits])
            return {names.get(name, name): value for name, value in tensors.items()}

        return merged

    def _package(
        self, head: Mapping[str, Any], body: bytes, finished: Finished, spent: Spent
    ) -> dict[str, Tensor]:
        """Return the tensors of a round: the letter's, the blobs', the slices'."""
        package: dict[str, Tensor] = unpacked(load(body))
        for file in head["blobs"]:
            package |= load(self._read(file, head, spent))
        for file in head["installed"]:
            package |= finished(load(self._read(file, head, spent)))
        assert self._run is not None
        slicer = self._run.slicer
        slices = [load(self._read(file, head, spent)) for file in head["slices"]]
        units = {int(block): (g, n) for block, (g, n) in head["units"].items()}
        return package | slicer.between(slicer.joined(slices), {}, units)

    def _prefix(
        self, head: Mapping[str, Any], finished: Finished, spent: Spent
    ) -> Prefix | None:
        """Return the frozen blocks that run one by one, if there are such.

        The next is fetched and read while one is at work.
        """
        files = [(number, file) for number, *file in head["prefix"]]
        if not files:
            return None

        def block(number: int, file: File) -> tuple[int, Tensors]:
            tensors = finished(load(self._read(file, head, spent)))
            return number, by_part(tensors)[number]

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

    def _known(self, head: Mapping[str, Any], spent: Spent) -> Joined:
        """Return the run a letter is of, also after this process was begun anew."""
        if self._run is None or self._run.id != head["run"]:
            try:
                told = read_sealed(self._settings.cache / KIT)
            except RunError:  # it is not there, or damaged
                told = {}
            if told.get("run") != head["run"]:
                raise RunError(NOT_JOINED)
            # Blobs that are lost come from where the server is now.
            where = {name: head[name] for name in ("route", "urls", "token")}
            self._joined({**told, **where}, spent)
        assert self._run is not None
        if self._run.stage != head["stage"]:
            shell = load(self._read(self._run.shell, head, spent))
            self._run = self._run.in_stage(head["stage"], shell)
        return self._run

    def _joined(self, head: Mapping[str, Any], spent: Spent) -> Joined:
        kits = [Kit.from_dict(one) for one in head["kits"]]
        kit = kits[0]
        folder = self._tokenizer_folder(head, spent)
        tokenizer = load_tokenizer(folder, kit.config.model.name)
        self._run = Joined(
            id=head["run"],
            kits=kits,
            shell=head["shell"],
            stage=0,
            base=kit.base(load(self._read(head["shell"], head, spent))),
            tokenizer=tokenizer,
            own_rows=self._own_rows(kit, tokenizer),
            digests=frozenset(digest for digest, _ in files_to_join(head)),
            states=StateCache.of(kit.config.train, self._settings.cache / FOLDER),
        )
        return self._run

    def _tokenizer_folder(self, head: Mapping[str, Any], spent: Spent) -> Path:
        folder = self._settings.cache / "tokenizer"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, *file in head["tokenizer"]:
            if Path(name).name != name or name.startswith("."):
                raise InputError(f"a tokenizer file of the name {name!r}")
            data = self._read(file, head, spent)
            with disk_errors(folder, "the run is not joined", "join again"):
                (folder / name).write_bytes(data)
        return folder

    def _own_rows(self, kit: Kit, tokenizer: Any) -> tuple[Encoded, ...] | None:
        if self._settings.data is None:
            return None
        data = replace(kit.config.data, source=self._settings.data)
        return rows_of_source(replace(kit.config, data=data), tokenizer)

    def _fetch(
        self, files: Iterable[File], head: Mapping[str, Any], spent: Spent
    ) -> None:
        for digest, num_bytes in files:
            if self._cache.path(digest) is not None:
                continue
            got = fetch(
                digest,
                num_bytes,
                self._urls(head),
                self._cache,
                token=head["token"],
                verify=self._settings.ca or True,
            )
            spent.fetch_s += got.ended_s - got.started_s
            spent.fetched_bytes += got.num_bytes

    def _urls(self, head: Mapping[str, Any]) -> list[str]:
        """Return where blobs are; the server's own route as this device reaches it."""
        return [*head.get("urls", []), self._route(head)]

    def _route(self, head: Mapping[str, Any]) -> str:
        told = str(head["route"]).replace("{host}", self._settings.host)
        return self._settings.blobs or told

    def _read(self, file: File, head: Mapping[str, Any], spent: Spent) -> bytes:
        """Return a blob's bytes; one that was altered or deleted is fetched again.

        Never a mapping of its file: whatever happens to that, a model stays what it is.
        """
        for attempt in range(READS):
            if attempt:
                self._fetch([file], head, spent)
            data = self._cache.read(file[0])
            if data is not None:
                return data
        raise RunError(
            f"blob {file[0][:12]} was altered or gone {READS} times before it was "
            f"read; see what else writes in {self._cache.folder}."
        )
