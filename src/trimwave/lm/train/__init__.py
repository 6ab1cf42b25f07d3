"""Local fine-tuning, alignment and evaluation."""
