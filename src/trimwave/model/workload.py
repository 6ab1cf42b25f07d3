"""A pruned sub-model's FLOPs, bits and memory by its kept fraction, eq. (5), C3."""

from dataclasses import dataclass, replace

from trimwave.base.units import IntArray


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One client's work in one round as a function of the kept fraction x = 1 - beta.

    Linear in x throughout: ``fixed + emulator * x``.
    """

    adapter_flops: int
    """a: FLOPs per local step that pruning does not change, the LM head included."""
    emulator_flops: int
    """e_0: forward FLOPs per local step of the unpruned emulator."""
    num_local_steps: int
    """M."""
    adapter_bits: int
    """|w^A|: down every round, whatever the pruning [bit]."""
    update_bits: int
    """|Delta w^A|: up every round [bit]."""
    emulator_params: int
    """Parameters of the unpruned emulator."""
    bits_per_param: int = 16
    """Number format on the air."""
    fixed_memory_bytes: int = 0
    """b(beta) at beta = 1."""
    emulator_memory_bytes: int = 0
    """What the unpruned emulator adds to b(beta)."""
    overhead_down_bits: int = 0
    """Container header down, per package; 0 as in the letter."""
    overhead_up_bits: int = 0
    """Container header up, per package."""
    emulator_sizes: IntArray | None = None
    """Attainable emulator sizes in parameters, ascending; None = any size."""

    @property
    def emulator_bits(self) -> int:
        """|w^E|: the unpruned emulator on the air [bit]."""
        return self.emulator_params * self.bits_per_param

    def with_sizes(self, sizes: IntArray) -> "Workload":
        """Return the workload with the sizes that real heads and neurons allow."""
        if sizes[-1] != self.emulator_params:
            raise ValueError(
                f"largest size {sizes[-1]} is not the emulator's {self.emulator_params}"
            )
        return replace(self, emulator_sizes=sizes)

    @property
    def min_kept(self) -> float:
        """Smallest kept fraction that the floors of the pruning allow."""
        if self.emulator_sizes is None or not self.emulator_params:
            return 0.0
        return float(self.emulator_sizes[0] / self.emulator_params)
