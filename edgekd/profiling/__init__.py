"""Measure operators and models on a device: here, over ssh, or through TVM's tracker."""
