"""What a bill charges a round's steps, against what PyTorch counts of them."""

from dataclasses import replace

import pytest
from tiny_run import clients, held, make_bench, make_server, plan_of
from torch.utils.flop_counter import FlopCounterMode

from trimwave.lm.data.encode import answer_share
from trimwave.recipe.recipe import merge_overrides

LARGE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 16}
"""Wide for the attention's own products, which PyTorch counts in another way; deep for
the lowest trained block, whose input needs no gradient and is charged for one."""

ALL = "lora_rank=4:lora_targets=all_linear"
METHODS = (
    "lora",
    f"lora:{ALL}",
    f"lora:blocks=10:{ALL}",
    "jcpba",
    f"jcpba:adapter=lora:{ALL}",
    "deft",
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return a workbench whose rows all have as many tokens as the recipe charges."""
    folder = tmp_path_factory.mktemp("counted")
    tokens = "train.seq_len=27", "data.max_tokens=27", "data.too_long=drop"
    changes = ("model.head=answers", "model.adapter_blocks=8", *tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        with pytest.warns(UserWarning, match="dropped"):
            made = make_bench(folder, changes=changes, **LARGE)
        yield made


@pytest.mark.parametrize("text", METHODS)
def test_the_flops_of_a_step_are_those_that_are_counted(bench, text):
    server = make_server(bench, text)
    plan = plan_of(bench, server, text)
    client, submodel = clients(server)[0], plan.submodels[0]
    package = held(server, submodel)
    with FlopCounterMode(display=False) as counter:
        client.fine_tune(package, submodel, 1)
    assert 0.93 * plan.flops[0] < counter.get_total_flops() < 1.01 * plan.flops[0]


def test_the_share_of_answers_is_that_of_the_labels(bench):
    rows = [row for rows in bench.client_rows for row in rows]
    assert {len(row.input_ids) for row in rows} == {27}
    answers = sum(len(row.input_ids) - row.answer_start for row in rows)
    assert answer_share(rows) == answers / (27 * len(rows))
    assert bench.costs.head_share == answer_share(rows) < 1
    said = merge_overrides(bench.config, ["data.answer_share=1"])
    assert replace(bench, config=said).costs.head_share == answer_share(rows)
