"""C4 and C5 of a recipe."""

from trimwave.base.errors import InputError
from trimwave.problem.limits import Limits, beta_bar_from_c5
from trimwave.recipe.config import Config, LimitsConfig
from trimwave.recipe.measured import measured_damage

DEFAULT_BETA_BAR = 0.5


def limits_of(config: Config, num_clients: int | None = None) -> Limits:
    """C4 and C5 of a config, C5 from its constants or from beta_bar.

    Parameters
    ----------
    config : Config
        All settings.
    num_clients : int, optional
        How many clients C5 counts; the config's if left out.

    Raises
    ------
    InputError
        If both are given, or the constants are incomplete or infeasible.
    """
    limits = config.limits
    return Limits(
        beta_min=limits.beta_min,
        beta_max=limits.beta_max,
        beta_bar=_beta_bar(
            limits, num_clients or config.cell.num_clients, config.train.batch_size
        ),
        damage=measured_damage(config),
        weighted=limits.weighted,
    )


def _beta_bar(limits: LimitsConfig, num_clients: int, batch_size: int) -> float:
    names = ("c5_xi", "c5_phi", "c5_psi", "gamma_min")
    given = {name: getattr(limits, name) for name in names}
    present = [name for name, value in given.items() if value is not None]
    if not present:
        return DEFAULT_BETA_BAR if limits.beta_bar is None else limits.beta_bar
    if limits.beta_bar is not None:
        raise InputError(
            f"give `limits.beta_bar` or C5's constants, not both; got {present} too."
        )
    if len(present) < len(names):
        missing = [name for name in names if name not in present]
        raise InputError(f"C5 from its constants needs {', '.join(missing)} too.")
    return beta_bar_from_c5(**given, num_clients=num_clients, batch_size=batch_size)
