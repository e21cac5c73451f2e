"""Export of a preset or a run to a bundle: graphs, tokenizer and manifest."""
