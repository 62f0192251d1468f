"""The fit behind `profiles/`: published measurements in, cost models with their held-out errors out."""
