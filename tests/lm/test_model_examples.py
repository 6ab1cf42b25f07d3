"""examples/: from own chats to a model, and an answer before and after."""

import re
import runpy
from pathlib import Path

import pytest
from tiny_run import make_config, save_model
from tokenizer import byte_tokenizer

from trimwave.lm.session import run_method
from trimwave.lm.workbench import build_workbench

EXAMPLES = Path(__file__).parents[2] / "examples"
TEMPLATE = (
    "{% for one in messages %}{{ one['role'] + ': ' + one['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_own_chats_end_in_a_model_that_transformers_answers_with(
    tmp_path, capsys, monkeypatch, kind
):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent / "src"))
    wide = {"num_key_value_heads": 4, "intermediate_size": 128}
    fields = {
        "llama": {"max_position_embeddings": 256, **wide},
        "gpt2": {"n_positions": 256},
    }
    model = save_model(tmp_path / "tiny", kind, **fields[kind])
    byte_tokenizer(chat_template=TEMPLATE).save_pretrained(str(model))
    main = runpy.run_path(str(EXAMPLES / "own_chat_to_model.py"))["main"]
    options = {"rounds": 2, "steps": 2, "blocks": 2, "rate": 0.002, "tokens": 256}
    words = [word for one in options for word in (f"--{one}", str(options[one]))]
    out = tmp_path / "out"
    main(["--model", str(model), "--out", str(out), *words])
    said = capsys.readouterr().out
    before, recorded, found = map(
        float,
        re.search(r"before training (\S+), recorded (\S+), here (\S+)", said).groups(),
    )
    assert found == pytest.approx(recorded, abs=1e-4)  # the script holds it to that too
    assert recorded < before
    assert "question How much is the Amber kettle?" in said
    assert "$ trimwave export" in said


def test_an_answer_before_and_after(tmp_path, capsys):
    config = make_config(tmp_path / "in", changes=["rounds=1"])
    run_method(build_workbench(config), config, tmp_path / "run")
    main = runpy.run_path(str(EXAMPLES / "before_and_after.py"))["main"]
    main([str(tmp_path / "run"), "--row", "2"])
    one = capsys.readouterr().out
    lines = [line.split(maxsplit=1)[0] for line in one.splitlines()]
    assert lines[:3] == ["question", "expected", "untrained"]
    assert re.match(r"question +Question: \d \+ \d\?", one)
    (tmp_path / "all").mkdir()
    (tmp_path / "run").rename(tmp_path / "all" / "run")
    main([str(tmp_path / "all"), "--row", "2"])
    assert capsys.readouterr().out == one
