"""What runs on the device: Python 3.8, numpy and onnxruntime are all it may need.

The folder is copied to the device and imports nothing of the rest of EdgeKD.
"""
