"""The workload of a split model, from numbers alone."""

from trimwave.model.costs import Costs
from trimwave.model.shape import ModelShape
from trimwave.model.workload import Workload


def workload_of(
    shape: ModelShape,
    *,
    split_index: int,
    batch_size: int,
    seq_len: int,
    num_local_steps: int,
    lora_params: int = 0,
    bits_per_param: int = 16,
    head_passes: int = 2,
    send_embeddings: bool = False,
) -> Workload:
    """Cost of a split model, eq. (5) and (8) with the defaults of docs/notation.md.

    Parameters
    ----------
    shape : ModelShape
        The model.
    split_index : int
        Blocks below it form the emulator, the others the adapter.
    batch_size, seq_len, num_local_steps : int
        N sequences of s tokens, M times a round.
    lora_params : int
        Parameters of the LoRA factors; 0 = the adapter's full weights train.
    bits_per_param, head_passes, send_embeddings
        As in `Costs`.

    Raises
    ------
    InputError
        If the split or a count is out of range.
    """
    costs = Costs(
        shape=shape,
        split_index=split_index,
        batch_size=batch_size,
        seq_len=seq_len,
        num_local_steps=num_local_steps,
        bits_per_param=bits_per_param,
        head_passes=head_passes,
        send_embeddings=send_embeddings,
    )
    per_block = lora_params / len(costs.adapter_blocks)
    return costs.workload_with("lora" if lora_params else "full", per_block)
