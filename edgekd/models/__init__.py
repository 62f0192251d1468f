"""From any accepted file to a network of real modules."""
