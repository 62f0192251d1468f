"""What each kind of layer and operator does with channels. One that is in no table is not followed."""

from edgekd.prune.rules import arithmetic, layers, shapes

RULES = {**layers.RULES, **shapes.RULES, **arithmetic.RULES}
