"""A device of a run: joins, fetches what it is sent, trains on its rows, answers.

It knows nothing of Flower: letters come in and go out. What it has of a run lies in its
cache folder, so that a device that was killed goes on with what it had.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load

from trimwave.base.errors import InputError, RunError, one_line
from trimwave.base.stored import disk_errors, read_sealed, write_sealed
from trimwave.lm.data.deal import rows_of_source
from trimwave.lm.data.encode import Encoded
from trimwave.lm.kit import Kit
from trimwave.lm.source.tokens import load_tokenizer
from trimwave.lm.states.cache import StateCache
from trimwave.lm.states.files import FOLDER
from trimwave.lm.wire.ledger import where
from trimwave.model.submodel import Submodel
from trimwave.net.blobs.cache import BlobCache
from trimwave.net.blobs.probe import measure_uplink
from trimwave.net.held_speed import held_to
from trimwave.net.joined import Joined, files_to_join
from trimwave.net.letter import Letter
from trimwave.net.profile import free_bytes, measure_device
from trimwave.net.residuals import Residuals
from trimwave.net.settings import Settings
from trimwave.net.shelf import Shelf, Spent
from trimwave.net.unpack import files_of, package_of

KIT = "kit.json"
"""What the device was told when it joined, in its cache folder."""

NOT_JOINED = "this device has not joined the run"
"""In an answer: it was begun anew and knows nothing of the run."""

FRESH = "fresh_rows"
"""In an answer: rows whose states had to be computed, where states are kept."""


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
                return self._train(letter)
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
        shelf = self._shelf(head)
        shelf.fetch(files_to_join(head))
        with disk_errors(self._settings.cache, "the run is not joined", "join again"):
            write_sealed(self._settings.cache / KIT, head)
        joined, spent = self._joined(head, 0, shelf), shelf.spent
        own = joined.own_rows
        profile = measure_device(joined.kit, joined.base)
        spent.probe_bytes, spent.probe_s = measure_uplink(
            shelf.route, head["token"], self._settings.ca or True
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

    def _train(self, letter: Letter) -> Letter:
        head, shelf = letter.head, self._shelf(letter.head)
        joined, spent = self._known(head, shelf), shelf.spent
        submodel = Submodel.from_dict(head["submodel"])
        shelf.fetch(files_of(letter))
        started = spent.fetched_at_s = time.monotonic()
        package, prefix = package_of(letter, joined, shelf)
        residuals = Residuals(self._settings.cache)
        client = joined.client(head["number"])
        client.residual.clear()
        client.residual.update(
            residuals.before(joined.key, head["round"], head["counted"])
        )
        spent.load_s = time.monotonic() - started
        started = time.monotonic()
        with held_to(head.get("speed_flops_per_s")) as counted:
            update = client.fine_tune(package, submodel, head["round"], prefix)
        spent.flops = counted.flops
        spent.done_s = time.monotonic()
        spent.train_s = spent.done_s - started
        self._say(
            f"round {head['round']}: fetched {spent.fetched_bytes / 2**20:.1f} MiB in "
            f"{spent.fetch_s:.1f} s, trained {spent.train_s:.1f} s, loss "
            f"{update.train_loss:.3f}"
        )
        residuals.keep(joined.key, head["round"], head["counted"], client.residual)
        self._cache.evict({*head["keep"], *joined.digests})
        device = joined.base.device
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

    def _shelf(self, head: Mapping[str, Any]) -> Shelf:
        return Shelf(self._cache, self._settings, head, Spent())

    def _known(self, head: Mapping[str, Any], shelf: Shelf) -> Joined:
        """Return the run a letter is of, in its stage; this process may be new."""
        asked = head["run"], head["stage"]
        if self._run is None or (self._run.id, self._run.stage) != asked:
            try:
                told = read_sealed(self._settings.cache / KIT)
            except RunError:  # it is not there, or damaged
                told = {}
            if told.get("run") != head["run"]:
                raise RunError(NOT_JOINED)
            # Blobs that are lost come from where the server is now: the letter's shelf.
            self._joined(told, head["stage"], shelf)
        assert self._run is not None
        return self._run

    def _joined(self, head: Mapping[str, Any], stage: int, shelf: Shelf) -> Joined:
        """Begin with a stage of a run; of another one of it the rows stay."""
        kit = Kit.from_dict(head["kits"][stage])
        if self._run is not None and self._run.id == head["run"]:
            tokenizer, own_rows = self._run.tokenizer, self._run.own_rows
        else:
            folder = self._tokenizer_folder(head, shelf)
            tokenizer = load_tokenizer(folder, kit.config.model.name)
            own_rows = self._own_rows(kit, tokenizer)
        self._run = Joined(
            id=head["run"],
            kit=kit,
            stage=stage,
            base=kit.base(load(shelf.read(head["shell"]))),
            tokenizer=tokenizer,
            own_rows=own_rows,
            digests=frozenset(digest for digest, _ in files_to_join(head)),
            states=StateCache.of(kit.config.train, self._settings.cache / FOLDER),
        )
        return self._run

    def _tokenizer_folder(self, head: Mapping[str, Any], shelf: Shelf) -> Path:
        folder = self._settings.cache / "tokenizer"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, *file in head["tokenizer"]:
            if Path(name).name != name or name.startswith("."):
                raise InputError(f"a tokenizer file of the name {name!r}")
            data = shelf.read(file)
            with disk_errors(folder, "the run is not joined", "join again"):
                (folder / name).write_bytes(data)
        return folder

    def _own_rows(self, kit: Kit, tokenizer: Any) -> tuple[Encoded, ...] | None:
        if self._settings.data is None:
            return None
        data = replace(kit.config.data, source=self._settings.data)
        return rows_of_source(replace(kit.config, data=data), tokenizer)
