"""Task metrics of a model: exact match, accuracy, macro F1, tokens per second."""

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trimwave.base.errors import InputError
from trimwave.lm.data.asked import OF_LABELS, OF_NUMBERS, Asked, Choice
from trimwave.lm.data.scores import final_number, macro_f1, num_correct
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.generate import greedy_tokens
from trimwave.lm.train.tune import precision
from trimwave.recipe.config import Config
from trimwave.runs.roles import Measured

BATCH_OPTIONS = 32
"""Labels that are scored side by side."""


class TaskMetrics:
    """The same rows and the same questions for every method and round.

    An answer is generated greedily and its number compared (`final_number`). A label is
    chosen by log-likelihood: the one whose text is the likeliest answer, the sum over
    its tokens not divided by its length (``acc`` of lm-evaluation-harness, not
    ``acc_norm``). The end of sequence is counted only where a label begins another one,
    which would otherwise never be behind it.

    Raises
    ------
    InputError
        If nothing is left of a row's prompt.
    """

    def __init__(self, asked: Asked, tokenizer: Any, config: Config) -> None:
        check_prompts(asked, config.data.max_tokens)
        self.asked = asked
        self._tokenizer = tokenizer
        self._config = config.metrics
        self._train = config.train

    def is_due(self, round_index: int, is_last: bool) -> bool:
        """Whether metrics are taken after a round; 0 is before the first."""
        return is_last or round_index % self._config.every_rounds == 0

    def measure(self, split: SplitModel) -> Measured:
        """Take the metrics of a model whose blocks are all there."""
        model, names = split.joined(), {*self.asked.names}
        device = next(model.parameters()).device
        found: dict[str, dict[str, float]] = {}
        speeds: dict[str, float] = {}
        with torch.no_grad(), precision(self._train, device):
            if names & {*OF_NUMBERS}:
                exact_match, tokens_per_s = self._answers(model)
                found["exact_match"] = exact_match
                speeds["tokens_per_s"] = round(tokens_per_s, 1)
            if names & {*OF_LABELS}:
                found |= self._labels(model)
        record = {name: value for name, value in found.items() if name in names}
        speeds = {name: value for name, value in speeds.items() if name in names}
        return Measured(record={"metrics": record} if record else {}, speeds=speeds)

    def _answers(self, model: Any) -> tuple[dict[str, float], float]:
        """Return exact match, and generated tokens per second of the wall clock."""
        prompts = self.asked.prompts
        started = time.monotonic()
        answers = greedy_tokens(
            model,
            self._tokenizer,
            [prompt.tokens for prompt in prompts],
            self._config.max_new_tokens,
        )
        elapsed_s = time.monotonic() - started
        texts = [
            self._tokenizer.decode(one, skip_special_tokens=True) for one in answers
        ]
        numbers = [final_number(text) for text in texts]
        correct = num_correct(numbers, [prompt.number for prompt in prompts])
        return _share(correct, len(prompts)), sum(map(len, answers)) / elapsed_s

    def _labels(self, model: Any) -> dict[str, dict[str, float]]:
        choices = self.asked.choices
        found = [int(log_likelihoods(model, one).argmax()) for one in choices]
        true = [one.true for one in choices]
        return {
            "accuracy": _share(num_correct(found, true), len(true)),
            "f1": {"value": macro_f1(found, true), "total": len(true)},
        }


def check_prompts(asked: Asked, max_tokens: int) -> None:
    """Refuse rows that were truncated until nothing was left of the prompt.

    Raises
    ------
    InputError
        Naming the first one, and what to do.
    """
    bare = [
        *(
            f"test row {number} of the {len(asked.prompts)} to be answered"
            + ("" if one.number is None else f" (its answer comes to {one.number})")
            for number, one in enumerate(asked.prompts, 1)
            if not one.tokens
        ),
        *(
            f"test row {number} of the {len(asked.choices)} to be labelled"
            for number, one in enumerate(asked.choices, 1)
            if not one.shared
        ),
    ]
    if bare:
        more = f", and {len(bare) - 1} more rows" if len(bare) > 1 else ""
        raise InputError(
            f"{bare[0]}{more}: nothing is left of the prompt, truncated to "
            f"`data.max_tokens` = {max_tokens}, so `metrics.names` "
            f"({', '.join(asked.names)}) cannot be taken; raise it, or set "
            "`data.too_long` to `drop`, or `metrics.every_rounds` to 0."
        )


def _share(correct: int, total: int) -> dict[str, float]:
    return {"value": correct / total, "correct": correct, "total": total}


def log_likelihoods(model: Any, choice: Choice) -> Tensor:
    """Return how likely each label of a row is as its answer, [L] natural logarithms.

    What all labels share runs once; its keys and values serve every label.
    """
    device = next(model.parameters()).device
    shared = torch.tensor([choice.shared], device=device)
    output = model(input_ids=shared, use_cache=True, logits_to_keep=1)
    first = output.logits[0, -1].float().log_softmax(-1)
    scores = [
        _scores(
            model, output.past_key_values, first, choice.options[i : i + BATCH_OPTIONS]
        )
        for i in range(0, len(choice.options), BATCH_OPTIONS)
    ]
    return torch.cat(scores).cpu()


def _scores(
    model: Any, cache: Any, first: Tensor, options: Sequence[Sequence[int]]
) -> Tensor:
    """Return the sum of log-likelihoods of each option's tokens.

    Parameters
    ----------
    model : PreTrainedModel
    cache : transformers Cache
        Keys and values of what comes before; copied, since a forward adds to it.
    first : [V]
        Log-likelihoods of the first token.
    options : [L] of sequence of int
    """
    longest = max(map(len, options))
    targets = torch.zeros(len(options), longest, dtype=torch.long)
    is_real = torch.zeros(len(options), longest, dtype=torch.bool)
    for row, option in enumerate(options):
        targets[row, : len(option)] = torch.tensor(option)
        is_real[row, : len(option)] = True
    targets, is_real = targets.to(first.device), is_real.to(first.device)
    found = first[targets[:, :1]]
    if longest > 1:
        own = copy.deepcopy(cache)
        own.batch_repeat_interleave(len(options))
        logits = model(input_ids=targets[:, :-1], past_key_values=own).logits
        rest = logits.float().log_softmax(-1)
        rest = rest.gather(-1, targets[:, 1:, None])[..., 0]
        found = torch.cat([found, rest], dim=1)
    return torch.where(is_real, found, 0.0).sum(dim=1)
