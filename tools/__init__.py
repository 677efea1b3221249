"""What makes and measures the project, beside the package. Run from a checkout: python -m tools.<name>."""
