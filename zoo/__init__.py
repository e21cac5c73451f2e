"""Sequence models on one contract: `(token_ids, state) -> (logits, state)`."""
