"""The rows of a run in tokens, dealt out to the clients."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.streams import stream
from trimwave.cell.partition import partition
from trimwave.lm.data.encode import Encoded, Encoder
from trimwave.lm.data.parts import UNFIT
from trimwave.lm.data.tasks import Splits, load_task
from trimwave.recipe.config import Config
from trimwave.recipe.situation import sizes_of


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
    encoder = Encoder(tokenizer, data.max_tokens, data.too_long)
    task = load_task(
        data.source,
        data.public,
        num_train=data.num_train,
        num_test=data.num_test,
        num_public=data.num_public,
        seed=config.seed,
        configuration=data.configuration,
        revision=data.revision,
        fits=encoder.fits,
    )
    _warn_of_dropped(task, data.max_tokens)
    parts = {"train": task.train, "test": task.test, "public": task.public}
    encoded = encoder.encode(parts)
    train = encoded["train"]
    return Dealt(
        clients=tuple(
            tuple(train[i] for i in shard) for shard in _shards(config, task)
        ),
        test=tuple(encoded["test"]),
        public=tuple(encoded["public"]),
        facts={
            "revision": task.data_revision,
            "public_revision": task.public_revision,
            "duplicates_dropped": task.num_duplicates,
            "passed_over": task.passed_over,
            "rows": {name: len(part) for name, part in encoded.items()},
        },
    )


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
    data = config.data
    skewed = data.partition == "dirichlet"
    labels = [row.label for row in task.train]
    if skewed and None in labels:
        raise InputError(
            f'`data.partition` = "dirichlet" needs labelled rows; `{data.source}` '
            'has none; use "iid" or a classification set.'
        )
    return partition(
        labels if skewed else len(task.train),
        config.cell.num_clients,
        scheme=data.partition,
        alpha=data.dirichlet_alpha if skewed else None,
        rng=stream(config.seed, "partition"),
        sizes=sizes_of(config, len(task.train)).tolist(),
    )
