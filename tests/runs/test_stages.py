"""Which stage a run is in, by records made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from trimwave.decision.plan import Scheme, Stage
from trimwave.model.submodel import Submodel
from trimwave.runs.stages import first_step, owed_bits, stage_after

SUBMODEL = Submodel(
    kept_fraction=1.0, emulator_params=1, trained_blocks=(0,), shared_blocks=(0,)
)


def stage(steps=None, **ends):
    submodel = replace(SUBMODEL, num_local_steps=steps)
    return Stage(scheme=Scheme(submodel=submodel), **ends)


def records(*stages, losses=None, seconds=10.0, took_part=None):
    """Return the records of rounds of these stages, the one before training too."""
    losses = losses or [3.0 - at for at in range(len(stages) + 1)]
    found = [{"round": 0, "virtual_s": 0.0, "loss_full": losses[0]}]
    for at, one in enumerate(stages, start=1):
        here = took_part[at - 1] if took_part else (True, True)
        found.append(
            {
                "round": at,
                "stage": one,
                "virtual_s": at * seconds,
                "loss_full": losses[at],
                "client_train_loss": [1.0 if k else None for k in here],
            }
        )
    return found


def test_a_run_of_one_stage_stays_in_it():
    assert stage_after(records(), [stage()]) == 0
    assert stage_after(records(0, 0, 0), [stage(rounds=1)]) == 0


def test_a_stage_ends_after_its_rounds():
    stages = [stage(rounds=2), stage(rounds=1), stage()]
    after = [(), (0,), (0, 0), (0, 0, 1), (0, 0, 1, 2), (0, 0, 1, 2, 2)]
    assert [stage_after(records(*one), stages) for one in after] == [0, 0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([3.0, 2.0, 1.0], False),  # 2 in 20 s
        ([3.0, 2.0, 2.0], True),  # 1 in 20 s is half of what is asked for
        ([3.0, 1.0, 3.1], True),  # it rises
        ([9.0, 3.0, 2.0, 1.0], False),
        ([9.0, 3.0, 2.0, 2.5], True),  # of the last two rounds alone
    ],
)
def test_a_stage_ends_as_the_loss_falls_too_slowly(losses, ends):
    stages = [stage(least_slope_per_s=0.1), stage()]
    past = records(*(len(losses) - 1) * [0], losses=losses)
    assert stage_after(past, stages) == ends


def test_a_slope_is_not_taken_over_a_border_of_stages():
    stages = [stage(rounds=2), stage(least_slope_per_s=0.1), stage()]
    flat = [3.0, 3.0, 3.0, 3.0, 3.0]
    assert stage_after(records(0, 0, 1, losses=flat), stages) == 1
    assert stage_after(records(0, 0, 1, 1, losses=flat), stages) == 2


def test_steps_are_counted_by_the_stages_they_were_of():
    stages = [stage(), stage(steps=7), stage(steps=2)]
    past = records(0, 0, 1, 2)
    found = [first_step(past[: at + 1], stages, 5) for at in range(5)]
    assert found == [0, 5, 10, 17, 19]
    assert first_step(past, [stage(), stage()], 5) is None
    assert first_step(past, [stage(steps=7)], 5) is None


def test_whoever_was_away_lacks_what_was_learnt_meanwhile():
    took_part = [(True, False), (True, True), (True, False)]
    past = records(0, 1, 1, took_part=took_part)
    learnt = (100, 30)
    assert owed_bits(past[:2], 0, learnt, 2) is None
    assert owed_bits(past[:2], 1, learnt, 2).tolist() == [100.0, 100.0]
    assert owed_bits(past, 1, learnt, 2).tolist() == [0.0, 0.0]
    assert owed_bits(past, 2, learnt, 2).tolist() == [30.0, 30.0]
    absent = records(0, 1, took_part=[(True, True), (True, False)])
    assert owed_bits(absent, 2, learnt, 2).tolist() == [30.0, 130.0]
    assert np.all(owed_bits(past, 2, learnt, 2) >= 0)
