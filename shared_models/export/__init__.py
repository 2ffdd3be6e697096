"""Forms in which a voice model is deployed: ONNX graphs, int8 weights, pruned widths."""
