"""Every TVM call of EdgeKD is in this folder."""
