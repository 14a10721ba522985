"""The network in torch: neurons, rate-based backpropagation, layers, rounding to whole numbers."""
