"""A trained network as weights for inference, as an ONNX model and as a NIR graph."""
