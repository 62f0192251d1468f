"""Choosing the widths: NSGA-II over loss, latency and energy, with budgets as constraints."""
