import json
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from tiny_run import make_bench, make_config, save_model
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError, RunError
from trimwave.cli import app as cli
from trimwave.lm.data.deal import deal_rows
from trimwave.lm.export import write_adapter, write_merged, write_pruned
from trimwave.lm.learnt import learnt_files
from trimwave.lm.session import run_method
from trimwave.lm.source.models import load_model
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.recipe import config_from_dict, merge_overrides
from trimwave.runs.chosen import choose_round

METHODS = {
    "jcpba": "jcpba",
    "jcpba-lora": "jcpba:adapter=lora",
    "lora-top": "lora:blocks=2:lora_rank=3:lora_alpha=5:lora_targets=all_linear",
    "fedbiot": "fedbiot",
    "deft": "deft",
    "split": "split_lora",
    "staged": "staged:warm_rounds=1:blocks=2:lora_rank=3:lora_alpha=5",
    "staged-anew": "staged",
}
ANEW = "options.staged={stages=[{rounds=1},{blocks=2,lora_rank=2}]}"
CHANGES = ["model.adapter_blocks=2", "rounds=2", "train.keep_checkpoints=all"]
SLOW = ("jcpba-lora", "fedbiot", "deft")
KINDS = {"llama": {"tie_word_embeddings": True}, "gpt2": {}}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def benches(home):
    return {
        kind: make_bench(home / kind, kind, CHANGES, **fields)
        for kind, fields in KINDS.items()
    }


@pytest.fixture(scope="module")
def ran(home, benches):
    """Return a function that gives the folder of a run of two rounds, made once."""

    def _ran(method, kind="llama"):
        folder = home / f"{kind}-{method}"
        if not folder.exists():
            bench = benches[kind]
            changes = [f'method="{METHODS[method]}"']
            if method.startswith("jcpba"):
                changes.append("align.initial_steps=2")
            if method == "staged-anew":
                changes.append(ANEW)
            config = merge_overrides(bench.config, changes)
            run_method(bench, config, folder)
        return folder

    return _ran


def plain_loss(model, rows):
    """Mean cross-entropy per answer token, by transformers' own forward."""
    total, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logits = model(row.input_ids[None]).logits[0].float()
        steps = range(row.answer_start, len(row.input_ids))
        for at in steps:
            total -= logits[at - 1].log_softmax(-1)[row.input_ids[at]].item()
            count += 1
    return total / count


def test_rows_of(config):
    return deal_rows(config, byte_tokenizer()).test


test_rows_of.__test__ = False


def load(folder):
    """Load a folder as anybody does; nothing may be missing or too much."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report[key] for key in report)
    assert type(model).__module__.startswith("transformers.")
    assert not list(Path(folder).glob("*.py"))
    return model.eval()


@pytest.mark.parametrize("method", ["jcpba", "split", "staged-anew", *map(slow, SLOW)])
def test_a_merged_model_has_the_recorded_loss(ran, home, method):
    chosen = choose_round(ran(method), "last")
    folder = home / f"merged-{method}"
    folder.mkdir()
    done = write_merged(chosen, folder, "float32")
    model = load(folder)
    recorded = chosen.record["loss_full"]
    assert recorded != chosen.records[0]["loss_full"]
    found = plain_loss(model, test_rows_of(chosen.config))
    assert found == pytest.approx(recorded, abs=1e-5)
    untied = method == "split"  # the one that trains the head
    assert model.config.tie_word_embeddings is not untied
    assert bool(done.notes) is untied
    same = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert same is not untied


@pytest.mark.slow
@pytest.mark.parametrize("method", ["jcpba", "jcpba-lora"])
def test_gpt2_is_merged_too(ran, home, method):
    chosen = choose_round(ran(method, "gpt2"), "1")
    folder = home / f"merged-gpt2-{method}"
    folder.mkdir()
    write_merged(chosen, folder, "float32")
    found = plain_loss(load(folder), test_rows_of(chosen.config))
    assert found == pytest.approx(chosen.record["loss_full"], abs=1e-5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_round_that_is_there_can_be_taken(ran, home, number):
    chosen = choose_round(ran("jcpba"), str(number))
    folder = home / f"round-{number}"
    folder.mkdir()
    write_merged(chosen, folder, "float32")
    found = plain_loss(load(folder), test_rows_of(chosen.config))
    assert found == pytest.approx(chosen.records[number]["loss_full"], abs=1e-5)


def test_a_run_starts_from_an_exported_model(ran, home):
    for method in ("jcpba", "split"):  # one tied, one not
        chosen = choose_round(ran(method), "last")
        folder = home / f"base-{method}"
        folder.mkdir()
        write_merged(chosen, folder, "float32")
        names = [f'model.name="{folder}"', "rounds=1", "align.initial_steps=0"]
        config = merge_overrides(chosen.config, names)
        records = run_method(build_workbench(config), config, home / f"on-{method}")
        assert records[0]["loss_full"] == pytest.approx(
            chosen.record["loss_full"], abs=1e-6
        )
        assert len(records) == 2


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("jcpba-lora", "llama"),
        ("lora-top", "llama"),
        ("split", "llama"),
        ("staged", "llama"),
        slow("jcpba-lora", "gpt2"),
        slow("staged", "gpt2"),
        slow("lora-top", "gpt2"),
        slow("fedbiot", "llama"),
        slow("split", "gpt2"),
    ],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True")  # head of GPT-2
def test_peft_loads_the_adapter(ran, home, method, kind):
    from peft import PeftModel

    chosen = choose_round(ran(method, kind), "best")
    folder = home / f"adapter-{kind}-{method}"
    folder.mkdir()
    done = write_adapter(chosen, folder)
    assert bool(done.notes) is (method == "split")  # its head is tied
    base = load_model(chosen.config.model.name)[0]
    model = PeftModel.from_pretrained(base, str(folder)).eval()
    found = plain_loss(model, test_rows_of(chosen.config))
    assert found == pytest.approx(chosen.record["loss_full"], abs=1e-5)
    said = json.loads((folder / "adapter_config.json").read_text())
    own = (3, 5.0) if method in ("lora-top", "staged") else (8, 16.0)
    assert (said["r"], said["lora_alpha"]) == own
    assert said["base_model_name_or_path"] == str(home / kind / "model")
    if method != "split":
        all_trained = [0, 1, 2, 3] if method == "staged" else [2, 3]
        assert said["layers_to_transform"] == all_trained
    factors = [name for name, _ in model.named_parameters() if "lora_A" in name]
    tensors = [one for one in _names(chosen.checkpoint) if "lora_A" in one]
    assert len(factors) == len(tensors)


def _names(checkpoint):
    from safetensors import safe_open

    names = []
    for path in learnt_files(checkpoint):
        with safe_open(path, framework="pt") as file:
            names += file.keys()
    return names


def test_trained_weights_are_no_adapter(ran, home):
    folder = home / "no-adapter"
    folder.mkdir()
    with pytest.raises(InputError, match="trained weights, not LoRA factors"):
        write_adapter(choose_round(ran("jcpba"), "best"), folder)


def test_factors_that_a_later_stage_trained_anew_are_no_one_adapter(ran, home):
    folder = home / "no-one-adapter"
    folder.mkdir()
    with pytest.raises(InputError, match="trained LoRA factors anew in a later stage"):
        write_adapter(choose_round(ran("staged-anew"), "last"), folder)


@pytest.mark.parametrize(
    ("method", "kind"), [("jcpba", "llama"), slow("jcpba-lora", "gpt2")]
)
def test_the_pruned_model_at_the_runs_rate_has_the_recorded_loss(
    ran, home, method, kind
):
    chosen = choose_round(ran(method, kind), "last")
    folder = home / f"pruned-{kind}-{method}"
    folder.mkdir()
    done = write_pruned(chosen, folder, 0.4, "float32")  # beta_bar, an aligned emulator
    recorded = chosen.record["loss_emulator"]
    assert recorded != pytest.approx(chosen.record["loss_full"], abs=1e-4)
    assert done.losses["pruned"] == pytest.approx(recorded, abs=1e-6)
    model = load(folder)
    found = plain_loss(model, test_rows_of(chosen.config))
    assert found == pytest.approx(recorded, abs=1e-5)
    zeros = sum(int((value == 0).sum()) for value in model.parameters())
    assert zeros > 1000
    assert "zeros" in done.notes[0]


def test_half_precision_is_asked_for_and_close(ran, home):
    chosen = choose_round(ran("jcpba"), "last")
    folder = home / "half"
    folder.mkdir()
    write_merged(chosen, folder, "bfloat16")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    found = plain_loss(model, test_rows_of(chosen.config))
    assert found == pytest.approx(chosen.record["loss_full"], abs=0.02)


@pytest.fixture
def trimwave(monkeypatch, capsys):
    """Call the command line: exit code, output, errors."""

    def _trimwave(*arguments):
        capsys.readouterr()  # what making the run printed
        monkeypatch.setattr("sys.argv", ["trimwave", *map(str, arguments)])
        capsys.readouterr()  # what making a model printed
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, *capsys.readouterr()

    return _trimwave


def test_the_command_writes_a_folder_with_a_card(ran, trimwave, tmp_path):
    run = ran("jcpba")
    chosen = choose_round(run, "best")
    code, out, err = trimwave("export", run, "--to", tmp_path / "new" / "model")
    assert (code, err) == (0, "")
    assert f"merged model of round {chosen.number} of 2 (the best) in float32" in out
    assert f"{chosen.record['loss_full']:.4f}" in out
    card = ModelCard.load(tmp_path / "new" / "model" / "README.md")
    said = card.data.to_dict()
    assert said["library_name"] == "transformers"
    assert said["pipeline_tag"] == "text-generation"
    assert "base_model" not in said  # a folder here is no name on the hub
    assert str(tmp_path) not in card.text and str(run.parent) not in card.text
    for record in chosen.records:
        assert f"{record['loss_full']:.6f}" in card.text
    recipe = tomllib.loads(re.search(r"```toml\n(.*?)```", card.text, re.DOTALL)[1])
    config = config_from_dict(recipe, "card").to_dict()
    expected = chosen.config.to_dict()
    assert config["model"].pop("name") == Path(expected["model"].pop("name")).name
    assert config["data"].pop("source") == Path(expected["data"].pop("source")).name
    assert config == expected
    digest = chosen.run.manifest["data"]["revision"]
    assert digest in card.text
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == ["model"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "new" / "model")
    assert tokenizer("2 + 3?")["input_ids"] == byte_tokenizer()("2 + 3?")["input_ids"]


def test_the_command_writes_an_adapter(ran, trimwave, tmp_path):
    code, out, err = trimwave(
        "export", ran("split"), "--to", tmp_path / "a", "--adapter", "--round", "last"
    )
    assert (code, err) == (0, "")
    assert "PeftModel.from_pretrained" in out
    said = ModelCard.load(tmp_path / "a" / "README.md").data.to_dict()
    assert said["library_name"] == "peft"


@pytest.mark.parametrize("method", ["split", slow("fedbiot")])
def test_what_a_method_has_not_is_one_line(ran, trimwave, tmp_path, method):
    arguments = ["--to", tmp_path / "m", "--pruned", "0.3"]
    code, _, err = trimwave("export", ran(method), *arguments)
    assert code == 2
    assert "has no emulator that is pruned at a rate" in err and err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_another_base_model_is_refused(home, benches, trimwave, tmp_path):
    make_config(tmp_path / "own")
    bench = make_bench(tmp_path / "own", "llama", ["rounds=1"])
    run_method(bench, bench.config, tmp_path / "run")
    save_model(tmp_path / "own" / "model", hidden_act="gelu")
    code, _, err = trimwave("export", tmp_path / "run", "--to", tmp_path / "m")
    assert code == 2
    assert "started with another model" in err and "config.json" in err
    shutil.rmtree(tmp_path / "own" / "model")
    code, _, err = trimwave("export", tmp_path / "run", "--to", tmp_path / "m")
    assert code == 2 and err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_base_model_that_was_moved_is_read_through_a_link(trimwave, tmp_path):
    bench = make_bench(tmp_path / "own", "llama", ["rounds=1"])
    run_method(bench, bench.config, tmp_path / "run")
    model = tmp_path / "own" / "model"
    model.rename(tmp_path / "elsewhere")
    for command in (
        ("export", tmp_path / "run", "--to", tmp_path / "m"),
        ("export", tmp_path / "run", "--to", tmp_path / "m", "--pruned", "0.2"),
        ("run", "--resume", tmp_path / "run", "--rounds", "2"),
    ):
        code, _, err = trimwave(*command)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{model} is the base model of {tmp_path / 'run'}" in err
        assert err.endswith(f"ln -s NEW_PLACE {model}\n")
    model.symlink_to(tmp_path / "elsewhere")
    assert not trimwave("export", tmp_path / "run", "--to", tmp_path / "m")[0]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_of_a_model_are_as_readable_as_the_umask_lets_them(
    ran, trimwave, tmp_path, umask
):
    before = os.umask(umask)
    try:
        assert not trimwave("export", ran("jcpba"), "--to", tmp_path / "m")[0]
    finally:
        os.umask(before)
    modes = {one.name: one.stat().st_mode & 0o777 for one in (tmp_path / "m").iterdir()}
    assert modes["model.safetensors"] == 0o666 & ~umask
    assert len({*modes.values()}) == 1


def test_a_run_is_not_warned_of_its_rows_again(trimwave, tmp_path):
    changes = ["rounds=1", "data.max_tokens=9", 'data.too_long="truncate"']
    config = make_config(tmp_path / "own", changes=changes)
    with pytest.warns(UserWarning, match="truncated"):
        bench = build_workbench(config)
    run_method(bench, config, tmp_path / "run")
    arguments = ["--to", tmp_path / "m", "--pruned", "0.2"]
    code, _, err = trimwave("export", tmp_path / "run", *arguments)
    assert (code, err) == (0, "")


def test_nothing_half_written_is_left(ran, trimwave, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trimwave.base.receipt.write_receipt", fail)
    code, _, err = trimwave("export", ran("jcpba"), "--to", tmp_path / "a" / "m")
    assert code == 2
    assert "nothing was written; free some space" in err
    assert not any(tmp_path.iterdir())


def test_a_tensor_that_does_not_fit_is_named(home):
    from trimwave.lm.plugged import plug_in

    model = load_model(str(home / "llama" / "model"))[0]
    for name in ("9.mlp.up_proj.weight", "1.mlp.no.weight", "1.mlp.up_proj.weight"):
        with pytest.raises(RunError, match=re.escape(name.rpartition(".")[0][2:5])):
            plug_in(model, {name: torch.zeros(3, 3)}, 16.0)
