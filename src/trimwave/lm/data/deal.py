"""The rows of a run in tokens, dealt out to the clients."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.streams import stream
from trimwave.cell.partition import partition
from trimwave.lm.data.asked import Asked, asked_of
from trimwave.lm.data.encode import Encoded, Encoder
from trimwave.lm.data.owned import load_owned
from trimwave.lm.data.parts import UNFIT, Taker, warn_of_parts
from trimwave.lm.data.reading import Reading
from trimwave.lm.data.tasks import FEW, Splits, load_rows, load_task
from trimwave.recipe.config import Config
from trimwave.recipe.situation import NUM_GENERATED, sizes_of

OWN = "client test"
"""The clients' own test rows, in messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dealt:
    """Who has which rows."""

    clients: tuple[tuple[Encoded, ...], ...]
    """Private rows of each client."""
    test: tuple[Encoded, ...]
    """Rows that nobody trains on."""
    public: tuple[Encoded, ...]
    """The server's own."""
    facts: dict[str, Any]
    """For the manifest: what the rows are, and what was passed over."""
    asked: Asked | None = None
    """What task metrics are taken on; None where there are none."""
    client_test: tuple[tuple[Encoded, ...], ...] | None = None
    """Test rows of each client's own, in the order of `clients`; empty for one that
    has none, None where no client has any."""


def deal_rows(config: Config, tokenizer: Any) -> Dealt:
    """Draw a run's rows, tokenise them and deal the training rows out.

    What is dropped is dropped as the rows are drawn, and others are drawn in its place;
    so every part has as many rows as the config says, and the partition sees the rows
    that are there.

    Raises
    ------
    InputError
        If the rows cannot be had, are too few or too long, or cannot be dealt out.
    """
    data = config.data
    encoder = Encoder(tokenizer, data.max_tokens, data.too_long, data.template)
    task = _drawn(config, encoder)
    _warn_of_dropped(task, data.max_tokens)
    parts = {"train": task.train, "test": task.test, "public": task.public}
    own = task.own_test or ()
    encoded = encoder.encode({**parts, OWN: [row for rows in own for row in rows]})
    own_test = iter(encoded.pop(OWN))
    train = encoded["train"]
    return Dealt(
        clients=tuple(
            tuple(train[i] for i in shard) for shard in _shards(config, task)
        ),
        test=tuple(encoded["test"]),
        public=tuple(encoded["public"]),
        asked=asked_of(
            config,
            tokenizer,
            list(zip(task.test, encoded["test"], strict=True)),
            task.train,
        ),
        client_test=None
        if task.own_test is None
        else tuple(tuple(next(own_test) for _ in rows) for rows in own),
        facts={
            "revision": task.data_revision,
            "public_revision": task.public_revision,
            "duplicates_dropped": task.num_duplicates,
            "passed_over": task.passed_over,
            "rows": {name: len(part) for name, part in encoded.items()},
            "template": encoder.templates,
            **_owners(task),
        },
    )


def rows_of_source(config: Config, tokenizer: Any) -> tuple[Encoded, ...]:
    """Return all training rows of a source, for a device that brings its own.

    Raises
    ------
    InputError
        If the rows cannot be had, or are too long.
    """
    data = config.data
    encoder = Encoder(tokenizer, data.max_tokens, data.too_long, data.template)
    draws = load_rows(data.source, seed=config.seed, reading=Reading.of(data))
    train = Taker(encoder.fits).take(draws.train, None, "train")
    warn_of_parts({"train": train}, [draws.train])
    return tuple(encoder.encode({"train": train.rows})["train"])


def _drawn(config: Config, encoder: Encoder) -> Splits:
    data = config.data
    if data.is_owned:
        task = load_owned(config, encoder.fits)
        _warn_of_few(config, task)
        return task
    generated = data.source == "gsm_symbolic"
    num_train = data.num_train or (NUM_GENERATED if generated else None)
    task = load_task(
        data.source,
        data.public,
        num_train=num_train,
        num_test=data.num_test or FEW,
        num_public=data.num_public or FEW,
        seed=config.seed,
        fits=encoder.fits,
        reading=Reading.of(data),
    )
    _warn_of_few(config, task)
    return task


def _warn_of_few(config: Config, task: Splits) -> None:
    """Say how few rows were split where no numbers are asked for."""
    parts = {"test": task.test, "public": task.public}
    few = {
        name: len(rows)
        for name, rows in parts.items()
        if getattr(config.data, f"num_{name}") is None and len(rows) < FEW.most
    }
    if few:
        counts = " and ".join(f"{count} {name} rows" for name, count in few.items())
        keys = " and ".join(f"`data.num_{name}`" for name in few)
        warnings.warn(
            f"few rows: {counts}, since {keys} {'are' if len(few) > 1 else 'is'} left "
            f"out; {len(task.train)} are to train on.",
            stacklevel=4,
        )


def _owners(task: Splits) -> dict[str, Any]:
    """Return for the manifest who the clients are, where the rows say so."""
    if task.client_ids is None or task.shards is None:
        return {}
    sizes = [len(shard) for shard in task.shards]
    return {"clients": dict(zip(task.client_ids, sizes, strict=True))}


def _warn_of_dropped(task: Splits, max_tokens: int) -> None:
    dropped = [
        f"{counts[UNFIT]} in {part}"
        for part, counts in task.passed_over.items()
        if UNFIT in counts
    ]
    if dropped:
        warnings.warn(
            f"dropped, since they have more than `data.max_tokens` = {max_tokens} "
            f"tokens: {', '.join(dropped)}; the source's next rows took their place.",
            stacklevel=3,
        )


def _shards(config: Config, task: Splits) -> tuple[np.ndarray, ...]:
    if task.shards is not None:
        return task.shards
    data = config.data
    skewed = data.partition == "dirichlet"
    labels = [row.label for row in task.train]
    if skewed and None in labels:
        raise InputError(
            f'`data.partition` = "dirichlet" needs labelled rows; '
            f"{labels.count(None)} of {len(labels)} of `{data.source}` have no label; "
            f"name their column in `data.label_column`, or use `iid`."
        )
    return partition(
        labels if skewed else len(task.train),
        config.cell.num_clients,
        scheme=data.partition,
        alpha=data.dirichlet_alpha if skewed else None,
        rng=stream(config.seed, "partition"),
        sizes=sizes_of(config, len(task.train)).tolist(),
    )
