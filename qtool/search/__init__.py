"""The search for the fastest choice of layers in integers, by measurement."""
