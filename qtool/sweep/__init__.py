"""Sweeps: one model under a grid of recipes, each made and judged, and what is best of them."""
