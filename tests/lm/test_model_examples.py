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


def one_line(capsys, example, *words):
    """Call an example that must stop with status 2, and return what it says."""
    main = runpy.run_path(str(EXAMPLES / f"{example}.py"))["main"]
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, words)])
    err = capsys.readouterr().err
    assert (stopped.value.code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ")
    return err


def test_chats_are_not_written_over(tmp_path, capsys):
    (tmp_path / "kept").write_text("mine")
    said = one_line(capsys, "own_chat_to_model", "--out", tmp_path)
    assert f"{tmp_path} is there already; remove it, or name another --out" in said
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_a_relative_model_is_the_working_directorys(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent / "src"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    main = runpy.run_path(str(EXAMPLES / "own_chat_to_model.py"))["main"]
    with pytest.raises(SystemExit):
        main(["--model", "here", "--out", "deep/er"])
    model = tmp_path / "here"
    assert f"`{model}` has no config.json" in capfd.readouterr().err


@pytest.mark.parametrize("folder", ["none", "."])
def test_no_chats_or_no_model_to_answer_with(tmp_path, capsys, monkeypatch, folder):
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"question": "?"}\n')
    (tmp_path / "config.json").write_text("{}")
    words = [str(tmp_path / folder), str(chats)]
    monkeypatch.setattr("sys.argv", ["answer", *words])
    main = runpy.run_path(str(EXAMPLES / "answer_with_transformers.py"))["main"]
    with pytest.raises(SystemExit) as stopped:
        main()
    err = capsys.readouterr().err
    assert (stopped.value.code, err.count("\n")) == (2, 1)
    assert ("holds no model" if folder == "none" else "is no file of chats") in err


def test_an_answer_before_and_after(tmp_path, capsys):
    config = make_config(tmp_path / "in", changes=["rounds=1"])
    run_method(build_workbench(config), config, tmp_path / "run")
    main = runpy.run_path(str(EXAMPLES / "before_and_after.py"))["main"]
    main([str(tmp_path / "run"), "--row", "2"])
    one = capsys.readouterr().out
    lines = [line.split(maxsplit=1)[0] for line in one.splitlines()]
    assert lines[:3] == ["question", "expected", "untrained"]
    assert re.match(r"question +Question: \d \+ \d\?", one)
    for row in (6, 99, -1):
        said = one_line(capsys, "before_and_after", tmp_path / "run", "--row", row)
        assert f"there is no test row {row}" in said and "rows, 0 to 5." in said
    assert "holds no run" in one_line(capsys, "before_and_after", tmp_path / "none")
    (tmp_path / "all").mkdir()
    (tmp_path / "run").rename(tmp_path / "all" / "run")
    main([str(tmp_path / "all"), "--row", "2"])
    assert capsys.readouterr().out == one
