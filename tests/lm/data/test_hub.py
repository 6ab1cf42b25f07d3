import datasets
import pytest
from row_files import sums

from trimwave.base.errors import InputError
from trimwave.lm.data.layouts import YAHOO_TOPICS
from trimwave.lm.data.rows import Row
from trimwave.lm.data.tasks import load_rows, load_task


@pytest.fixture
def hub(monkeypatch):
    """A hub with the data sets put into the dict it returns."""
    stored = {}

    class Info:
        sha = "c0ffee"

    def load(name, config=None, revision=None):
        assert revision == "c0ffee"
        return stored[name, config]

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *a, **k: Info)
    monkeypatch.setattr("datasets.load_dataset", load)
    return stored


def test_yahoo_from_the_hub(hub):
    names = datasets.ClassLabel(names=list(YAHOO_TOPICS))
    columns = {
        "topic": [9, 0],
        "question_title": ["who?", "why?"],
        "question_content": ["", "oh"],
        "best_answer": ["me", "so"],
    }
    table = datasets.Dataset.from_dict(columns).cast_column("topic", names)
    stored = datasets.DatasetDict(train=table, test=table.select([1]))
    hub["community-datasets/yahoo_answers_topics", None] = stored
    with pytest.warns(UserWarning, match="passed over in train: 1 duplicate"):
        splits = load_task("yahoo_answers_topics", seed=0)
    assert splits.test == (
        Row("Question: why? oh\nTopic:", YAHOO_TOPICS[0], YAHOO_TOPICS[0]),
    )
    assert [row.label for row in splits.train] == [YAHOO_TOPICS[9]]
    assert splits.data_revision == "c0ffee"


def test_wikitext_and_a_set_without_test_rows_from_the_hub(hub):
    text = datasets.Dataset.from_dict({"text": ["", " one \n", " two \n"]})
    hub["Salesforce/wikitext", "wikitext-2-raw-v1"] = {"train": text, "test": text}
    rows = list(load_rows("wikitext-2", seed=0).train)
    assert sorted(row.answer for row in rows) == [" one \n", " two \n"]
    alpaca = [{**record, "id": i} for i, record in enumerate(sums(9))]
    hub["tatsu-lab/alpaca", None] = {"train": datasets.Dataset.from_list(alpaca)}
    with pytest.raises(InputError, match="no test rows of its own; set `num_test`"):
        load_task("tatsu-lab/alpaca", seed=0)
    assert len(load_task("tatsu-lab/alpaca", num_test=2, seed=0).train) == 7
    hub["a/b", None] = {"validation": text}
    with pytest.raises(InputError, match="no split `train`, only: validation"):
        load_rows("a/b", seed=0)
