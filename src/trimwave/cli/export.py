"""The command that takes a run's model away: `trimwave export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.report.console import plain_console

if TYPE_CHECKING:
    from trimwave.runs.chosen import Chosen, Exported


class DType(StrEnum):
    """Number formats that weights can be written in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    to: Annotated[Path, typer.Option(help="Folder to write; new, or empty.")],
    round_: Annotated[
        str,
        typer.Option(
            "--round",
            help="best (the least test loss on the full model), last, or a number.",
        ),
    ] = "best",
    pruned: Annotated[
        float | None,
        typer.Option(
            metavar="BETA", help="Prune the lower blocks at this rate, as zeros."
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="The whole model; the default.")
    ] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Its LoRA factors alone, for PEFT.")
    ] = False,
    dtype: Annotated[
        DType, typer.Option(help="Of the weights; training has float32.")
    ] = DType.float32,
) -> None:
    """Write the model of a run as a folder that other programs load.

    For example: trimwave export runs/default-jcpba-s0 --to model
    """
    from trimwave.report.model_card import licence_of, model_card
    from trimwave.runs.chosen import choose_round
    from trimwave.runs.folder import require_empty, whole_folder
    from trimwave.runs.inputs import BASE_MODEL, ROWS, require_inputs

    _check_options(pruned, merge, adapter, dtype)
    chosen = choose_round(run, round_)
    _check_method(chosen, adapter)
    require_empty(to)
    needed = BASE_MODEL if pruned is None else BASE_MODEL + ROWS
    require_inputs(run, chosen.config, needed)
    try:
        from trimwave.lm.export import (
            licence_on_hub,
            write_adapter,
            write_merged,
            write_pruned,
        )
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    console = plain_console()
    with console.status("loading") as status, whole_folder(to) as draft:
        if adapter:
            done = write_adapter(chosen, draft)
        elif pruned is None:
            done = write_merged(chosen, draft, dtype.value)
        else:
            done = write_pruned(
                chosen,
                draft,
                pruned,
                dtype.value,
                lambda line: status.update(Text(line)),
            )
        licence = licence_of(chosen) or licence_on_hub(chosen)
        card = model_card(
            chosen, done.kind, dtype.value, licence, done.notes, done.losses
        )
        _write_card(card, chosen, done, draft)
    _tell(chosen, done, to, dtype, console)


def _check_options(
    pruned: float | None, merge: bool, adapter: bool, dtype: DType
) -> None:
    """Refuse what does not go together, before anything is read."""
    if pruned is not None and not 0 <= pruned < 1:
        raise InputError(f"--pruned must be in [0, 1), got {pruned}.")
    if merge and adapter:
        raise InputError(
            "--merge writes the whole model, --adapter its factors alone; drop one."
        )
    if adapter and pruned is not None:
        raise InputError("--adapter has no blocks to prune; drop it or --pruned.")
    if adapter and dtype != DType.float32:
        raise InputError("--adapter is written as it was trained; drop --dtype.")


def _check_method(chosen: "Chosen", adapter: bool) -> None:
    """Refuse what a method is known not to have, before torch is loaded."""
    from trimwave.methods import parse_method

    method = chosen.config.method
    rule = parse_method(method, chosen.config.options)
    if adapter and getattr(rule, "adapter", "") == "full":
        raise InputError(
            f"{chosen.run.folder} trained weights (`{method}`), not LoRA factors, so "
            "there is no adapter that PEFT could load; leave --adapter out for the "
            "merged model."
        )


def _write_card(card: str, chosen: "Chosen", done: "Exported", draft: Path) -> None:
    """Write the card, and last of all the receipt of all files."""
    from trimwave.base.receipt import write_receipt

    (draft / "README.md").write_text(card, encoding="utf-8")
    files = sorted(one.name for one in draft.iterdir() if one.is_file())
    facts = {"exported": done.kind, "round": chosen.number}
    write_receipt(draft, facts, [one for one in files if not one.startswith(".")])


def _tell(
    chosen: "Chosen", done: "Exported", to: Path, dtype: DType, console: Console
) -> None:
    """Say what was written, how good it is, and how it is loaded."""
    last = len(chosen.records) - 1
    best = "the best" if chosen.is_best else "not the best"
    before, after = chosen.records[0]["loss_full"], chosen.record["loss_full"]
    lines = [
        f"{done.kind} model of round {chosen.number} of {last} ({best}) in "
        f"{dtype.value}: {to}",
        f"test loss on the full model: {after:.4f}, before training {before:.4f}",
        *(f"test loss, {of}: {value:.4f}" for of, value in done.losses.items()),
        *done.notes,
    ]
    if not chosen.number:
        lines.append("round 0 is the base model as it was before training.")
    folder = str(to.absolute())
    call = f"AutoModelForCausalLM.from_pretrained({folder!r})"
    if done.kind == "adapter":
        call = f"PeftModel.from_pretrained(base, {folder!r})"
    lines.append(f"load it with  {call}")
    for line in lines:
        console.print(line, soft_wrap=True)
