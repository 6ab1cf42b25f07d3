"""The Hugging Face hub: what it refuses is one line, and what it has is pinned."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from trimwave.base.errors import InputError, one_line

Kind = Literal["model", "dataset"]

TIMEOUT_S = 20.0
"""For the first question; other calls would try again for half a minute."""

FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What is taken of a model: no pickled weights, no other frameworks' formats."""
REST = ["*/*", "consolidated*"]
"""What is left there all the same: folders, and Mistral's second copy of weights."""

LOGGERS = ("huggingface_hub", "datasets", "httpx", "filelock")


def commit_of(kind: Kind, repository: str, revision: str = "") -> str | None:
    """Return the commit that a revision is; None where the hub cannot be asked.

    Parameters
    ----------
    kind : {"model", "dataset"}
        What the repository holds.
    repository : str
        ``owner/name``.
    revision : str
        A commit, branch or tag; empty = its main branch.

    Raises
    ------
    InputError
        If the hub refuses: no such repository or revision, or no access.
    """
    from huggingface_hub import HfApi

    ask = getattr(HfApi(), f"{kind}_info")
    try:
        sha: str = ask(repository, revision=revision or None, timeout=TIMEOUT_S).sha
    except Exception as error:
        # Whatever HTTP library the hub is built on raises classes of its own.
        if not is_refusal(error):
            return None
        raise InputError(refusal(error, kind, repository, revision)) from error
    return sha


def is_refusal(error: Exception) -> bool:
    """Say whether the hub answered, and that asking again would not help."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if isinstance(error, HFValidationError):
        return True
    response = error.response if isinstance(error, HfHubHTTPError) else None
    return response is not None and response.status_code < 500


def refusal(
    error: BaseException, kind: Kind, repository: str, revision: str = ""
) -> str:
    """Say in one line why the hub does not give something, and what to do."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{'datasets/' * (kind == 'dataset')}{repository}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"`{repository}` of the Hugging Face hub is gated; accept its terms at "
            f"{page}, and set HF_TOKEN (or run `hf auth login`)."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"`{repository}` of the Hugging Face hub has no revision `{revision}`; "
            f"name a commit, branch or tag of {page}."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"the Hugging Face hub has no {kind} `{repository}`, or none that may be "
            f"seen; check the name at {page}, or set HF_TOKEN if it is private."
        )
    return (
        f"could not read `{repository}` from the Hugging Face hub "
        f"({type(error).__name__}: {one_line(error)})."
    )


def model_folder(repository: str, revision: str = "") -> Path:
    """Return the folder of a snapshot, named by its commit; fetched if it can be.

    Raises
    ------
    InputError
        If the hub refuses, the download breaks off, or the hub cannot be reached and
        the cache has no such snapshot.
    """
    from huggingface_hub import snapshot_download

    asked: dict[str, Any] = {"revision": revision or None}
    with quiet_hub():
        if commit_of("model", repository, revision) is None:
            return _cached(repository, revision)
        try:
            # By the name that the user gave: by that it is found without a network.
            return Path(
                snapshot_download(
                    repository, allow_patterns=FILES, ignore_patterns=REST, **asked
                )
            )
        except Exception as error:
            if is_refusal(error):
                said = refusal(error, "model", repository, revision)
                raise InputError(said) from error
            raise InputError(
                f"the download of `{repository}` from the Hugging Face hub broke off "
                f"({type(error).__name__}: {one_line(error)}); run the command again, "
                "and it goes on with what has arrived."
            ) from error


def _cached(repository: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository, revision=revision or None, local_files_only=True
        )
    except Exception as error:
        which = f" of revision `{revision}`" if revision else ""
        raise InputError(
            f"the Hugging Face hub cannot be reached, and `{repository}`{which} is not "
            "in the local cache; check the network (HF_HUB_OFFLINE, HF_ENDPOINT), copy "
            "the model's folder here and name its path, or use `smollm2-135m`, which "
            "needs no hub."
        ) from error
    return Path(folder)


def denied(kind: Kind, repository: str) -> str:
    """Say in one line why this user may not read a repository; empty where they may."""
    from huggingface_hub import HfApi

    try:
        HfApi().auth_check(repository, repo_type=kind)
    except Exception as error:
        return refusal(error, kind, repository) if is_refusal(error) else ""
    return ""


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep the hub's libraries off the screen, but for a terminal's progress bars."""
    from huggingface_hub import utils

    bars: Any = utils
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    were_shown = not bars.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    if not sys.stderr.isatty():
        bars.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if were_shown:
            bars.enable_progress_bars()
