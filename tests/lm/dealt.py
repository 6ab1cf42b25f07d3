"""Which rows each client should have, worked out again from the raw file.

Apart from the random order and `partition` itself nothing of trimwave is used: the file
is read, laid out, measured, cut and counted in plain Python. The tokenizer has a token
per byte, so that a row's tokens are its text.

`python tests/lm/dealt.py` checks 20 seeds of every setting and prints a table.
"""

import json
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizer import EOS, byte_tokenizer

from trimwave.base.streams import stream
from trimwave.cell.partition import partition
from trimwave.lm.data.deal import deal_rows
from trimwave.recipe.recipe import config_from_dict

SEEDS = range(20)
HOW = ("drop", "truncate", "error")
SCHEMES = ("iid", "dirichlet")
COUNTS = {"num_test": 7, "num_public": 9, "num_train": 40}
SIZES = ((), (3, 1, 17, 10))
MAX_TOKENS = 60


def write_labelled_rows(path, num_rows=120, *, long=True):
    """Write rows of four labels, each another text; a third are too long, if asked."""
    rng = np.random.default_rng(5)
    with path.open("w") as file:
        for i in range(num_rows):
            words = 20 if long and i % 3 == 0 else int(rng.integers(1, 4))
            text = "note" + " word" * words + f" {i}"
            file.write(json.dumps({"text": text, "label": f"c{i % 4}"}) + "\n")
    return path


def config_of(path, seed, how, scheme, sizes=()):
    """Return a config that deals a file's rows out to four clients."""
    data = {"source": str(path), "max_tokens": MAX_TOKENS, "too_long": how, **COUNTS}
    data |= {"partition": scheme, "dirichlet_alpha": 0.05, "client_sizes": list(sizes)}
    tree = {"seed": seed, "cell": {"num_clients": 4}, "data": data}
    return config_from_dict(tree, "dealt")


def expected(path, config):
    """Return the text of every row of each client, of test and of public."""
    data = config.data
    records = [json.loads(line) for line in path.read_text().splitlines()]
    order = stream(config.seed, "rows").permutation(len(records))
    rows = [
        (f"Text: {records[i]['text']}\nTopic:", f" {records[i]['label']}{EOS}")
        for i in order
    ]

    def excess(row):
        return max(0, len(row[0]) + len(row[1]) - len(EOS) + 1 - data.max_tokens)

    if data.too_long == "drop":
        rows = [row for row in rows if not excess(row)]
    texts = [prompt[excess((prompt, answer)) :] + answer for prompt, answer in rows]
    first, second = data.num_test, data.num_test + data.num_public
    train = slice(second, second + data.num_train)
    labels = [answer for _, answer in rows[train]]
    skewed = data.partition == "dirichlet"
    shards = partition(
        labels if skewed else len(labels),
        config.cell.num_clients,
        scheme=data.partition,
        alpha=data.dirichlet_alpha if skewed else None,
        rng=stream(config.seed, "partition"),
        sizes=data.client_sizes or None,
    )
    kept = texts[train]
    return {
        "clients": [[kept[i] for i in shard] for shard in shards],
        "test": texts[:first],
        "public": texts[first:second],
        "train": kept,
    }


def check_dealt(path, config):
    """Assert that everyone has the rows that are theirs, and return how many."""
    tokenizer = byte_tokenizer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dealt = deal_rows(config, tokenizer)

    def texts(rows):
        return [tokenizer.decode(row.input_ids.tolist()) for row in rows]

    should = expected(path, config)
    clients = [texts(rows) for rows in dealt.clients]
    assert clients == should["clients"]
    assert texts(dealt.test) == should["test"]
    assert texts(dealt.public) == should["public"]
    data, union = config.data, Counter(text for rows in clients for text in rows)
    assert set(union.values()) == {1}
    assert not union.keys() & {*should["test"], *should["public"]}
    if data.client_sizes:
        assert [len(rows) for rows in clients] == list(data.client_sizes)
        assert union.keys() <= set(should["train"])
    else:
        assert union.keys() == set(should["train"])
        assert union.total() == data.num_train
    for rows in (*dealt.clients, dealt.test, dealt.public):
        assert all(len(row.input_ids) <= data.max_tokens for row in rows)
    return union.total()


def check_all(folder, seeds=SEEDS, all_sizes=SIZES):
    """Check every setting; yield how, scheme, sizes and how many rows were compared."""
    for how in HOW:
        name = folder / f"{how}.jsonl"
        path = write_labelled_rows(name, long=how != "error")
        for scheme in SCHEMES:
            for sizes in all_sizes:
                configs = (config_of(path, s, how, scheme, sizes) for s in seeds)
                yield how, scheme, sizes, sum(check_dealt(path, c) for c in configs)


if __name__ == "__main__":
    print("| too long | partition | sizes | seeds | rows compared | wrong |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        for how, scheme, sizes, count in check_all(Path(place)):
            given = ", ".join(map(str, sizes)) or "equal"
            print(f"| {how} | {scheme} | {given} | {len(SEEDS)} | {count} | 0 |")
