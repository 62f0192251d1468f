"""The ways to search, by their names: each measures plans until a rule ends the search or it knows no more."""

from collections.abc import Callable
from types import MappingProxyType

from edgekd.search.algorithms.evolution import nsga2, nsga3
from edgekd.search.algorithms.greedy import greedy
from edgekd.search.algorithms.random_search import random
from edgekd.search.algorithms.scaling import uniform
from edgekd.search.evaluations import Evaluations
from edgekd.search.settings import SearchSettings

Algorithm = Callable[[Evaluations, SearchSettings], None]
ALGORITHMS = MappingProxyType({"nsga2": nsga2, "nsga3": nsga3, "random": random, "uniform": uniform, "greedy": greedy})
