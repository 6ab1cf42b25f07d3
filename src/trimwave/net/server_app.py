"""The ServerApp: the round loop of a run, over Flower's grid.

`trimwave run --backend flower` and `trimwave serve` tell it what to do in a file, whose
path is in the run's config; under `flwr run` the recipe is named there instead.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from trimwave.net.flower import FlowerPost
from trimwave.net.host import host
from trimwave.net.order import Order

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run to the end."""
    told = context.run_config
    if told.get("order"):
        order = Order.read(Path(str(told["order"])))
    else:
        order = _from_recipe({name: str(value) for name, value in told.items()})
    host(order, FlowerPost(grid))


def _from_recipe(told: dict[str, str]) -> Order:
    """Return the order that a config of `flwr run` is."""
    from trimwave.recipe.recipe import find_recipe, load_config

    folder = Path(told["out"]).absolute()
    changes = [one for one in told.get("set", "").split(";") if one.strip()]
    config = load_config(find_recipe(told["recipe"]), changes)
    return Order(folder=str(folder), config=config.to_dict())
