"""From a recipe to what a method sees in a round."""

from trimwave.base.moved import signpost

__getattr__ = signpost(
    __name__,
    "recipe.recipe",
    (
        "config_from_dict",
        "differences",
        "find_recipe",
        "load_config",
        "merge_overrides",
    ),
)
