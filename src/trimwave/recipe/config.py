"""What a run is made of: frozen dataclasses; `recipe.py` reads them from TOML.

A recipe holds only its differences from the defaults here and in the sections' own
files.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from trimwave.base.errors import InputError
from trimwave.recipe.net_section import NetConfig
from trimwave.recipe.planning_sections import (
    CellConfig,
    LimitsConfig,
    ModelConfig,
    PruneConfig,
    RadioConfig,
)
from trimwave.recipe.require import require
from trimwave.recipe.training_sections import (
    AggregateConfig,
    AlignConfig,
    DataConfig,
    MetricsConfig,
    TrainConfig,
)

__all__ = [
    "AggregateConfig",
    "AlignConfig",
    "CellConfig",
    "Config",
    "DataConfig",
    "LimitsConfig",
    "MetricsConfig",
    "ModelConfig",
    "PruneConfig",
    "RadioConfig",
    "TrainConfig",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A whole run."""

    name: str = "default"
    """Names the run's folder."""
    method: str = "jcpba"
    """A method of `trimwave methods`, with options: `jcpba:solver=bcd`; your own rule
    as `module:Class`."""
    rounds: int = 10
    """How many rounds are trained."""
    seed: int = 0
    """Everything random follows from it."""
    cell: CellConfig = field(default_factory=CellConfig)
    radio: RadioConfig = field(default_factory=RadioConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    aggregate: AggregateConfig = field(default_factory=AggregateConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    net: NetConfig = field(default_factory=NetConfig)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of methods in this recipe, ``[options.fedbiot]`` and so on; what is
    written behind a method's name wins."""

    def __post_init__(self) -> None:
        require("", self, 1, "rounds")
        if self.seed < 0:
            raise InputError(f"`seed` must be at least 0, got {self.seed}.")
        bad = "/" in self.name or not self.name.isprintable()
        if not self.name or bad or self.name.startswith("."):
            raise InputError(f"`name` must be a plain folder name, got {self.name!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, for the manifest."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
