"""Sequence models on one contract: `(token_ids, state) -> (logits, state)`."""

from zoo.presets import list_presets, load

__all__ = ["list_presets", "load"]
