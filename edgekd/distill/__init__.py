"""Training a student from its teacher, with and without fake quantization."""
