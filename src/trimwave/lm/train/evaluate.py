"""Test losses: on the planned emulator, and plugged into the full model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trimwave.lm.data.encode import Encoded, collate
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.tune import answer_loss, precision
from trimwave.recipe.config import TrainConfig

BATCH_ROWS = 4


class Evaluator:
    """Mean cross-entropy per answer token over the test rows.

    The frozen emulator's output on the test rows is computed once per emulator and
    kept, so that an evaluation costs the adapter and the head only. Rows of like length
    share a batch, which wastes the least on padding.
    """

    def __init__(
        self, rows: Sequence[Encoded], pad_id: int, config: TrainConfig
    ) -> None:
        ordered = sorted(rows, key=lambda row: len(row.input_ids))
        starts = range(0, len(ordered), BATCH_ROWS)
        self._batches = [collate(ordered[i : i + BATCH_ROWS], pad_id) for i in starts]
        self._config = config
        self._features: dict[nn.ModuleList, list[Tensor]] = {}

    def loss(self, split: SplitModel) -> float:
        """Evaluate one split model."""
        device = split.device
        split.adapter.eval()
        total, count = 0.0, 0
        with torch.no_grad(), precision(self._config, device):
            features = self._features_of(split, device)
            for batch, cached in zip(self._batches, features, strict=True):
                loss, answers = answer_loss(split, cached, batch.labels.to(device))
                total, count = total + float(loss), count + answers
        return total / count

    def forget(self, emulator: nn.ModuleList) -> None:
        """Drop what is kept of an emulator that has changed or is done with."""
        self._features.pop(emulator, None)

    def _features_of(self, split: SplitModel, device: torch.device) -> list[Tensor]:
        if split.emulator not in self._features:
            self._features[split.emulator] = [
                split.features(batch.input_ids.to(device)) for batch in self._batches
            ]
        return self._features[split.emulator]
