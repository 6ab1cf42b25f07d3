"""What a client needs of a run before its first round, beside its own rows.

In one process clients are made of it directly. Over a network it travels as JSON, and
the shell of the model (embeddings, norm, head) as safetensors: a device has nothing
else of the model but what it is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trimwave.decision.plan import Scheme
from trimwave.lm.data.encode import Encoded
from trimwave.lm.states.cache import StateCache
from trimwave.lm.surgery.split import SplitModel, split_model
from trimwave.lm.template import template_of
from trimwave.lm.train.client import Client
from trimwave.lm.train.tune import pick_device
from trimwave.lm.wire.ledger import Tensors, parameters_of, where
from trimwave.lm.wire.package import Wire
from trimwave.lm.workbench import Workbench
from trimwave.model.submodel import Submodel
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import config_from_dict
from trimwave.runs.alignment import alignment_of, has_emulator


@dataclass(frozen=True, kw_only=True)
class Kit:
    """How the clients of a run are made up."""

    config: Config
    reference: Submodel
    """The scheme's: what any client may train."""
    aligned: bool
    """The server trains the emulator too."""
    learning_rate: float
    """AdamW step size."""
    pad_id: int
    """Padding token."""
    model_config: Mapping[str, Any]
    """The model's config.json."""

    @classmethod
    def of(cls, bench: Workbench, scheme: Scheme, stage: int = 0) -> "Kit":
        """Return the kit of a method's run; only its first stage is aligned."""
        train, lora = bench.config.train, scheme.submodel.trained == "lora"
        data = bench.config.data
        if bench.config.model.head == "answers":  # a device has other rows, or none
            data = replace(data, answer_share=bench.costs.head_share)
        own = train.lora_learning_rate if lora else train.learning_rate
        return cls(
            config=replace(
                bench.config,
                data=data,
                # Whoever has it can take the noise off what the clients are sent.
                aggregate=replace(bench.config.aggregate, noise_seed=0),
            ),
            reference=scheme.submodel,
            aligned=not stage
            and has_emulator(scheme.submodel)
            and alignment_of(bench.config.align, scheme) is not None,
            learning_rate=scheme.learning_rate or own,
            pad_id=bench.pad_id,
            model_config=bench.split.shell.config.to_dict(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, for JSON."""
        return {
            "config": self.config.to_dict(),
            "reference": self.reference.to_dict(),
            "aligned": self.aligned,
            "learning_rate": self.learning_rate,
            "pad_id": self.pad_id,
            "model_config": dict(self.model_config),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Kit":
        """Read what `to_dict` wrote."""
        config = config_from_dict(plain["config"], "the server's kit")
        reference = Submodel.from_dict(plain["reference"])
        return cls(**{**plain, "config": config, "reference": reference})

    def client(
        self,
        number: int,
        base: SplitModel,
        rows: Sequence[Encoded],
        states: StateCache | None = None,
    ) -> Client:
        """Return a device with its rows; `base` is what `template` returns."""
        bits = self.config.model.bits_per_param
        return Client(
            number=number,
            base=base,
            rows=rows,
            wire=up_wire_of(base, self.reference, bits),
            config=self.config.train,
            learning_rate=self.learning_rate,
            seed=self.config.seed,
            pad_id=self.pad_id,
            states=states,
        )

    def template(self, original: SplitModel) -> SplitModel:
        """Return how the model of this run's clients is made up."""
        return template_of(
            original,
            self.reference,
            self.config.seed,
            aligned=self.aligned,
        )

    def base(self, shell: Mapping[str, Tensor]) -> SplitModel:
        """Return a device's model: the shell, and blocks without weights.

        Parameters
        ----------
        shell : mapping
            As `shell_tensors` returns it.
        """
        model = _empty_model(dict(self.model_config))
        for name, value in shell.items():
            _put(model, name, value)
        model.tie_weights()
        split = split_model(model, self.reference.trained_blocks[0] or 1)
        split = split.split_at(self.reference.trained_blocks[0])
        device = pick_device(self.config.train.device)
        split.shell.to(device)
        # Memory that is never touched is none: packages bring the weights.
        adapter = split.adapter.to_empty(device=device).requires_grad_(False)
        return self.template(split.with_adapter(adapter))


def up_wire_of(template: SplitModel, reference: Submodel, bits_per_param: int) -> Wire:
    """Return the format of updates, whose largest are the reference sub-model's."""
    sent = where(parameters_of(template), reference.travels_up)
    small = sent if reference.update_bits else ()
    return Wire.fitting(sent, bits_per_param, small)


def shell_tensors(split: SplitModel) -> Tensors:
    """Return embeddings, final norm and head by name; what is tied comes once.

    In the half of the bits where that loses nothing.
    """
    return {
        name: _halved(value.detach().cpu())
        for name, value in split.shell.named_parameters()
    }


def _halved(value: Tensor) -> Tensor:
    half = value.to(torch.float16)
    return half if torch.equal(half.to(value.dtype), value) else value


def _empty_model(config: dict[str, Any]) -> Any:
    """Return a causal LM whose parameters have no memory, and buffers their values."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    own = AutoConfig.for_model(config.pop("model_type"), **config)
    with init_empty_weights(include_buffers=False):
        return AutoModelForCausalLM.from_config(own, dtype=torch.float32)


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, own = name.rpartition(".")
    parameter = nn.Parameter(value.to(torch.float32), requires_grad=False)
    model.get_submodule(owner)._parameters[own] = parameter
