"""From an ONNX file to a module of torch layers and functions."""
