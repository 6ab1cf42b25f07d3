"""Kill a run at random moments until it is done; `python kills.py RECIPE FOLDER KILLS`.

The library is imported once, by the parent; every life of the run is a child of it.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch

from trimwave.lm.session import run_method
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.recipe import load_config
from trimwave.runs.records import Run

DONE, FAILED = 0, 1


def live(recipe, folder, wait_s):
    """Run or resume in a child that is killed after a while; its exit code, or None."""
    child = os.fork()
    if not child:
        code = FAILED
        with contextlib.suppress(BaseException):
            try:
                config = load_config(recipe)
                resume = (folder / "manifest.json").exists()
                run_method(build_workbench(config), config, folder, resume=resume)
                code = DONE
            except BaseException:
                traceback.print_exc()
        os._exit(code)
    ends_s = time.monotonic() + wait_s
    while time.monotonic() < ends_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == -signal.SIGKILL else code


def whole_life_s(recipe, folder):
    """Seconds of a run that nobody kills."""
    start_s = time.monotonic()
    assert live(recipe, folder, 600) == DONE
    return time.monotonic() - start_s


def main():
    """Print how many kills a run took, and in how many lives it was done."""
    recipe, folder, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = random.Random(0)
    life_s = whole_life_s(recipe, folder / "whole")
    taken, runs = 0, 0
    while taken < kills:
        here = folder / f"killed-{runs}"
        while (code := live(recipe, here, rng.uniform(0, life_s))) is None:
            taken += 1
        assert code == DONE
        assert not Run.open(here).records()[-1]["round"] < load_config(recipe).rounds
        runs += 1
    print(json.dumps({"kills": taken, "runs": runs}))


if __name__ == "__main__":
    main()
