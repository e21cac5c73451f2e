"""The HTTP service over exported bundles."""
