"""Records of a folder that `save_to_disk` of `datasets` wrote."""

import hashlib
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, one_line
from trimwave.base.stored import sha256_of
from trimwave.lm.data.records import Found, NamedClasses, Records
from trimwave.recipe.row_files import TEST_NAMES


def read_saved(path: Path) -> tuple[Records, Records | None, str]:
    """Read a table, or the splits train and test (or validation) of several.

    Returns
    -------
    train, test, revision
        As `read_local`.

    Raises
    ------
    InputError
        If it cannot be read, or has no split `train`.
    """
    import datasets

    try:
        saved: Any = datasets.load_from_disk(str(path))
        digest = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            name = file.relative_to(path).as_posix()
            digest.update(f"{name} {sha256_of(file)}\n".encode())
    except Exception as error:
        # `datasets` raises classes of Arrow's, of its own, and Python's.
        raise InputError(
            f"`{path}` cannot be read as what `save_to_disk` writes "
            f"({one_line(error)}); save it again, or as .jsonl by `to_json`."
        ) from error
    splits = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    train, *tests = splits_of(splits, str(path))
    return train, tests[0] if tests else None, f"sha256:{digest.hexdigest()}"


def splits_of(splits: Any, name: str) -> list[Records]:
    """Return the records of the splits train and, where there is one, test.

    Raises
    ------
    InputError
        If there is no split `train`, or it is empty.
    """
    if "train" not in splits:
        raise InputError(f"`{name}` has no split `train`, only: {', '.join(splits)}.")
    if not len(splits["train"]):
        raise InputError(f"`{name}` is empty; give one with rows.")
    tests = [split for split in TEST_NAMES if split in splits][:1]
    return [
        Records([Found(NamedClasses(splits[split]), f"{name} ({split})")])
        for split in ("train", *tests)
    ]
