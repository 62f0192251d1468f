"""Which channels live and die together, which matter, and the network without the rest."""
