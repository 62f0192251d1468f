"""From a network to ONNX: fp32, fp16 and int8 (QDQ)."""
