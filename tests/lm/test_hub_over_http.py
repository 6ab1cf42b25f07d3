"""Models and rows from a stand-in of the hub, in a process of its own each time.

HF_ENDPOINT is read as the hub's library is loaded, so nothing here is faked in Python.
"""

import json
import os
import subprocess
import sys

import pytest
from hub import Hub, Repository, commit, serving
from row_files import sums
from tokenizer import save_tiny_model

pytestmark = pytest.mark.slow

READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
from trimwave.base.errors import InputError
from trimwave.lm.data.reading import Reading
from trimwave.lm.data.tasks import load_rows
from trimwave.lm.source.models import load_model
for kind, name, options in json.loads(sys.argv[1]):
    try:
        if kind == "model":
            answer = load_model(name, **options)[2]["commit"]
        else:
            draws = load_rows(name, seed=0, reading=Reading(**options))
            answer = [draws.revision, len(list(draws.train))]
    except InputError as error:
        answer = str(error)
    print(json.dumps(answer))
"""

CARD = """---
configs:
- config_name: short
  data_files: [{split: train, path: short.jsonl}]
- config_name: long
  data_files: [{split: train, path: long.jsonl}]
---
"""


def lines(count):
    return "\n".join(map(json.dumps, sums(count))).encode()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with a model and data sets, some of which it does not give."""
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    model = {file.name: file.read_bytes() for file in folder.iterdir()}
    older = {"model.safetensors": b"not these", "config.json": b"{}"}
    rows = Repository(
        {
            commit("c"): {"train.jsonl": lines(9)},
            commit("d"): {"train.jsonl": lines(20)},
        },
        tags={"v1": commit("c")},
    )
    several = {"README.md": CARD.encode(), "short.jsonl": lines(5)}
    with serving(Hub()) as hub:
        hub.models |= {
            "our/model": Repository({commit("a"): older, commit("b"): model}),
            "our/gated": Repository({commit("a"): model}, is_gated=True),
            "our/broken": Repository({commit("a"): model}, breaks_after=900),
        }
        hub.datasets |= {
            "our/rows": rows,
            "our/gated": Repository(rows.files, is_gated=True),
            "our/several": Repository(
                {commit("e"): several | {"long.jsonl": lines(12)}}
            ),
        }
        yield hub


@pytest.fixture
def read(hub, tmp_path):
    """Ask for some repositories in a new process; the answers, and its errors."""

    def _read(*asked, **environment):
        asked = [(*one, {}) if len(one) == 2 else one for one in asked]
        home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-c", READ, json.dumps(asked)],
            env={**clean, **home, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # the hub's libraries may not chat
        return [json.loads(line) for line in done.stdout.splitlines()]

    return _read


MODEL, ROWS = ("model", "our/model"), ("rows", "our/rows")


def test_what_is_there_is_pinned_and_then_found_without_a_network(read, hub):
    assert read(MODEL, ROWS) == [commit("b"), [commit("d"), 20]]
    asked = len(hub.asked)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for environment in ({"HF_HUB_OFFLINE": "1"}, nowhere):
        answers = read(
            MODEL,
            ROWS,
            (*ROWS, {"revision": commit("d")}),
            (*ROWS, {"revision": commit("c")}),
            ("model", "our/other"),
            ("rows", "our/other"),
            **environment,
        )
        assert answers[:3] == [commit("b"), [commit("d"), 20], [commit("d"), 20]]
        older, model, rows = answers[3:]
        assert f"has commit {commit('d')} of `our/rows`, not `{commit('c')}`" in older
        for said in (model, rows):
            assert said.startswith("the Hugging Face hub cannot be reached, and ")
            assert "cache" in said
    assert len(hub.asked) == asked


def test_a_revision_is_a_commit_a_branch_or_a_tag(read):
    answers = read(
        (*ROWS, {"revision": "v1"}),
        (*ROWS, {"revision": commit("c")}),
        (*ROWS, {"revision": "v2"}),
        (*MODEL, {"revision": "v2"}),
        (*MODEL, {"revision": commit("b")}),
    )
    assert answers[:2] == [[commit("c"), 9]] * 2
    for said, name in ((answers[2], "rows"), (answers[3], "model")):
        assert said.startswith(f"`our/{name}` of the Hugging Face hub has no revision")
        assert "`v2`" in said
    assert answers[4] == commit("b")


def test_what_the_hub_does_not_give_is_one_line_each(read):
    answers = read(
        ("model", "our/gated"),
        ("rows", "our/gated"),
        ("model", "our/missing"),
        ("rows", "our/missing"),
        ("rows", "our/several"),
        ("rows", "our/several", {"configuration": "shrt"}),
        ("rows", "our/several", {"configuration": "long"}),
    )
    gated, gated_rows, missing, missing_rows, several, misspelt, long = answers
    for said in (gated, gated_rows):
        assert "`our/gated` of the Hugging Face hub is gated" in said
        assert "set HF_TOKEN" in said
    assert "has no model `our/missing`" in missing
    assert "has no dataset `our/missing`" in missing_rows
    assert "set `data.configuration` to one of: short, long" in several
    assert "has no configuration `shrt`" in misspelt
    assert "`short`" in misspelt
    assert long == [commit("e"), 12]


def test_a_token_opens_a_gated_repository(read):
    answers = read(("model", "our/gated"), ("rows", "our/gated"), HF_TOKEN="hf_any")
    assert answers == [commit("a"), [commit("d"), 20]]


def test_a_download_that_broke_off_goes_on(read, hub):
    broken = ("model", "our/broken")
    (said,) = read(broken)
    assert "the download of `our/broken` from the Hugging Face hub broke off" in said
    assert "run the command again" in said
    (offline,) = read(broken, HF_HUB_OFFLINE="1")
    assert "cannot be reached" in offline or "has no" in offline
    hub.models["our/broken"].breaks_after = None
    assert read(broken) == [commit("a")]
