"""Small grids, changed ones, and what refuses them."""

import copy

import pytest

from ltp.common.errors import LTPError
from ltp.grid.grid import Grid

SHORT = {"tasks": {"rotten_tomatoes": {}}}
SMALL = {
    "tasks": {"rotten_tomatoes": {"hard": {"epochs": 2}}, "imdb": None},
    "seeds": [0, 1],
    "data": {"max_length": 64},
    "training": {"batch_size": 32, "dropout": 0.0},
    "soft": {"temperatures": [1e-3, 2e-3], "lambdas": [0.1], "epochs": 3},
    "hard": {"learning_rates": [1e-5, 2e-5]},
    "baselines": {"topk": {"keep_rates": [-0.2, 0.5]}, "manual": None},
}


def refusal(config) -> str:
    """The line with which a grid is refused."""
    with pytest.raises(LTPError) as caught:
        Grid(config)
    return str(caught.value)


def changed(config: dict, path: tuple, value) -> dict:
    """A copy of a grid with ``value`` under ``path``, mappings made on the way."""
    config = copy.deepcopy(config)
    place = config
    for key in path[:-1]:
        if place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[path[-1]] = value
    return config
