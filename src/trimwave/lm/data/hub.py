"""Data sets of the Hugging Face hub, pinned to a commit, or from its cache."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, nearest, one_line
from trimwave.lm.data.records import Records
from trimwave.lm.data.saved import splits_of
from trimwave.lm.source.hub import commit_of, denied, quiet_hub

COMMIT = re.compile("[0-9a-f]{40}")

HUB: dict[str, tuple[str, str | None]] = {
    "gsm8k": ("openai/gsm8k", "main"),
    "openai/gsm8k": ("openai/gsm8k", "main"),
    "yahoo_answers_topics": ("community-datasets/yahoo_answers_topics", None),
    "wikitext-2": ("Salesforce/wikitext", "wikitext-2-raw-v1"),
    "alpaca": ("tatsu-lab/alpaca", None),
    "dbpedia-14": ("fancyzhx/dbpedia_14", None),
}
"""Names for data sets of the hub: repository and configuration."""


def read_hub(
    name: str, configuration: str = "", revision: str = ""
) -> tuple[Records, Records | None, str]:
    """Read a data set of the hub: train and test splits, and the commit.

    Parameters
    ----------
    name : str
        A name in `HUB`, or ``owner/name``.
    configuration : str
        Of those that it has; empty = the only one, or that of `HUB`.
    revision : str
        Commit, branch or tag; empty = its main branch.

    Raises
    ------
    InputError
        If it cannot be had: why, and what to do.
    """
    import datasets  # first: it sets its loggers' levels

    repository, usual = HUB.get(name, (name, None))
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with quiet_hub():
        commit = commit_of("dataset", repository, revision)
        splits = _splits(repository, configuration or usual, commit)
    read = _commit_read(splits)
    wanted = commit or revision
    if wanted and COMMIT.fullmatch(read) and read != wanted:
        raise InputError(
            f"the local cache has commit {read} of `{repository}`, not `{wanted}`, and "
            "the Hugging Face hub did not give that one; name the commit that is "
            "there, or check the network."
        )
    train, *tests = splits_of(splits, name)
    return train, tests[0] if tests else None, commit or read


def _splits(repository: str, configuration: str | None, commit: str | None) -> Any:
    """Load a commit's splits by name; from the cache where there is no commit."""
    import datasets

    try:
        with cache_alone() if commit is None else contextlib.nullcontext():
            return datasets.load_dataset(repository, configuration, revision=commit)
    except Exception as error:
        if commit is None:
            raise InputError(
                f"the Hugging Face hub cannot be reached, and the local cache does not "
                f"give `{repository}` ({one_line(error)}); check the network "
                "(HF_HUB_OFFLINE, HF_ENDPOINT), or name a local file or folder instead."
            ) from error
        _check_configuration(repository, configuration, commit)
        # `datasets` drops what the hub said, so it is asked.
        if said := denied("dataset", repository):
            raise InputError(said) from error
        cause = error.__cause__ or error
        raise InputError(
            f"could not read `{repository}` of the Hugging Face hub "
            f"({type(cause).__name__}: {one_line(cause)}); if the download broke off, "
            "run the command again; or name a local file or folder instead."
        ) from error


@contextlib.contextmanager
def cache_alone() -> Iterator[None]:
    """Let `datasets` read its cache, as HF_HUB_OFFLINE does that was set in time.

    Without it each of its questions is asked again for half a minute.
    """
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _check_configuration(
    repository: str, configuration: str | None, commit: str
) -> None:
    """Raise if a configuration has to be named, or there is none of that name."""
    import datasets

    try:
        found = datasets.get_dataset_config_names(repository, revision=commit)
    except Exception:
        return  # then that is not what is wrong
    if configuration is None and len(found) > 1:
        raise InputError(
            f"`{repository}` of the Hugging Face hub has several configurations; set "
            f"`data.configuration` to one of: {', '.join(found)}."
        )
    if configuration is not None and configuration not in found:
        raise InputError(
            f"`{repository}` of the Hugging Face hub has no configuration "
            f"`{configuration}`; {nearest(configuration, found)}"
        )


def _commit_read(splits: Any) -> str:
    """Return the commit that was read, by which the cache's folder is named.

    `datasets` reads the newest one of its cache, whatever was asked for, where the hub
    does not answer.
    """
    files = next(iter(splits.values())).cache_files
    return Path(files[0]["filename"]).parent.name if files else "unknown"
