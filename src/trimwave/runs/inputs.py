"""What a run read when it was begun, and must find again at the same place."""

import os
from pathlib import Path

from trimwave.base.errors import RunError
from trimwave.recipe.config import Config
from trimwave.recipe.paths import NAMES
from trimwave.runs.folder import quoted

Keys = tuple[tuple[str, str], ...]

BASE_MODEL: Keys = (("model", "name"),)
ROWS: Keys = (("data", "source"), ("data", "public"))


def require_inputs(folder: Path, config: Config, keys: Keys = tuple(NAMES)) -> None:
    """Refuse to go on with a run whose files were moved or removed since.

    Parameters
    ----------
    folder : Path
        The run, or the comparison.
    config : Config
        What it was begun with: paths are absolute.
    keys : tuple of (section, key)
        Which files are needed; all that a recipe can name if not given.

    Raises
    ------
    RunError
        Naming the path, what it is to the run, and how to have it there again.
    """
    for section, key in keys:
        path = getattr(getattr(config, section), key)
        if not (isinstance(path, str) and os.path.isabs(path)):
            continue  # a name, of the hub or of ours
        if not os.path.exists(path):
            its = "base model" if (section, key) in BASE_MODEL else "input"
            raise RunError(
                f"{path} is the {its} of {folder} (`{section}.{key}`) and is not there "
                "any more; put it back, or link to where it is now: ln -s NEW_PLACE "
                f"{quoted(Path(path))}"
            )
