"""Images in memory."""

from __future__ import annotations

import torch

from edgekd.data import Images


def test_sample_draws_without_replacement_and_by_the_seed() -> None:
    x = torch.zeros(20, 1, 2, 2, dtype=torch.uint8)
    images = Images(x=x, y=torch.zeros(20, dtype=torch.int64), ids=tuple(map(str, range(20))))
    drawn = images.sample(8, seed=0).ids
    assert len(set(drawn)) == 8
    assert images.sample(8, seed=0).ids == drawn
    assert images.sample(8, seed=1).ids != drawn
    assert sorted(images.sample(99, seed=0).ids) == sorted(images.ids)
