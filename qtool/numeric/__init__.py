"""Level 0: the mathematics of quantization, on numpy arrays alone."""
