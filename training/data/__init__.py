"""Data: files fetched and checked, texts in parts, token ids, and batches in a settled order."""
