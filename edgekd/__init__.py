"""EdgeKD: compress a trained PyTorch network into verified edge artifacts."""

__version__ = "0.1.0"
