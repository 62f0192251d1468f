"""Simulate in training what the integer runtime will compute."""
