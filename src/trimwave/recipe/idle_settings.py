"""Keys that other settings of the same recipe leave without effect."""

from collections.abc import Iterator
from pathlib import Path

from trimwave.model.config_file import local_path
from trimwave.model.names import KNOWN_MODELS
from trimwave.recipe.config import AggregateConfig, Config, MetricsConfig

GENERATED = "gsm_symbolic"
"""The source of rows that needs no file."""

Idle = tuple[str, str]
"""A key, or the beginning of keys up to a dot, and the end of "without effect ..."."""


def under_others(config: Config) -> Iterator[Idle]:
    """Yield what other settings of the same config leave without effect."""
    yield from _of_rows(config)
    if config.data.source == GENERATED or Path(config.data.source).exists():
        for key in ("data.configuration", "data.revision"):
            yield key, "while `data.source` is no data set of the hub"
    known = KNOWN_MODELS.get(config.model.name)
    if known.hub is None if known else local_path(config.model.name):
        yield "model.revision", "while `model.name` is no model of the hub"
    if config.radio.path_loss_model == "fixed":
        for key in ("line_of_sight", "carrier_hz", "distance_m"):
            yield f"radio.{key}", "while `radio.path_loss_model` is fixed"
    if config.radio.fading == "none" and not config.radio.trace:
        yield "--round", "while `radio.fading` is none"
    if config.radio.path_loss_model != "fixed" and not config.radio.trace:
        yield "radio.path_loss_db", "while `radio.path_loss_model` goes by distance"
    if config.model.head == "all":
        yield "data.answer_share", "while `model.head` is all"
    prune, align = config.prune, config.align
    if prune.criterion != "fisher":
        for key in ("prune.num_sequences", "prune.batch_size"):
            yield key, f"while `prune.criterion` is {prune.criterion}"
    if prune.criterion == "layer_drop":
        for key in ("prune.round_to", "prune.min_groups", "prune.min_neurons"):
            yield key, "while `prune.criterion` is layer_drop"
    if not align.every_rounds:
        yield "align.steps", "while `align.every_rounds` is 0"
    if not (align.initial_steps or align.every_rounds):
        never = "while `align.initial_steps` and `align.every_rounds` are 0"
        yield "align.kl_weight", never
    if config.train.state_cache == "off":
        for key in ("train.state_memory_bytes", "train.state_disk_bytes"):
            yield key, "while `train.state_cache` is off"
    elif not config.train.keeps_states:
        sizes = "`train.state_memory_bytes` and `train.state_disk_bytes`"
        yield "train.state_cache", f"while {sizes} are 0"
    yield from _of_metrics(config.metrics)
    yield from _of_aggregation(config.aggregate)


def _of_rows(config: Config) -> Iterator[Idle]:
    """Yield what says nothing about rows as they are."""
    data = config.data
    if data.source == GENERATED:
        for key in ("data.columns", "data.label_column", "data.label_names"):
            yield key, "on `gsm_symbolic`, which is generated"
    if data.is_owned:
        for key in ("data.num_train", "data.client_sizes"):
            yield key, "where the rows say whose they are: a client keeps its own"
    if data.partition != "dirichlet":
        for key in ("data.dirichlet_alpha", "data.label_column"):
            yield key, f"while `data.partition` is {data.partition}"


def _of_metrics(metrics: MetricsConfig) -> Iterator[Idle]:
    if not metrics.every_rounds:
        for key in ("num_rows", "max_new_tokens", "names"):
            yield f"metrics.{key}", "while `metrics.every_rounds` is 0"
    if metrics.names and not {*metrics.names} & {"exact_match", "tokens_per_s"}:
        yield "metrics.max_new_tokens", "while `metrics.names` has nothing to generate"


def _of_aggregation(aggregate: AggregateConfig) -> Iterator[Idle]:
    for key, rule in (("trim", "trimmed_mean"), ("num_malicious", "krum")):
        if aggregate.rule != rule:
            yield f"aggregate.{key}", f"while `aggregate.rule` is {aggregate.rule}"
    for key in ("learning_rate", "momentum", "beta2", "epsilon"):
        optimizer = aggregate.server_optimizer
        of_adam = key in ("beta2", "epsilon") and optimizer != "adam"
        if optimizer == "none" or of_adam:
            yield (
                f"aggregate.server_{key}",
                f"while `aggregate.server_optimizer` is {optimizer}",
            )
    if not aggregate.noise_multiplier:
        yield "aggregate.noise_seed", "while `aggregate.noise_multiplier` is 0"
