"""Which layer hurts: every tensor of a candidate held against the reference's, in one pass.

form     both models at one opset, typed
match    which value of the candidate stands for which of the reference's
merge    reference, candidate, and the candidate with exact inputs, as one graph
gains    what equalization has scaled, found on the first samples
sums     the nodes that reduce each tensor to a few numbers
measure  the passes over the data
"""

from qtool.compare.layers.measure import Layers, compare_layers

__all__ = ["Layers", "compare_layers"]
