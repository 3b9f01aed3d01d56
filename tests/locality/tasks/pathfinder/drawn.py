"""Pathfinder images that the tests share."""

import functools

import jax

from htfjax import locality
from htfjax.locality import paper_pathfinder

LENGTHS = (3, 5, 7, 9)
KEY = jax.random.key(5)


@functools.cache
def images(length: int, match: bool = False) -> locality.PathfinderImages:
    """512 images of one length."""
    settings = paper_pathfinder(length, match_distance=match)
    return locality.draw_pathfinder(KEY, settings, 512)
