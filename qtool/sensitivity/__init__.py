"""Which layers hurt: what each quantized tensor alone does to the outputs of a model."""
