"""How far the student's positions would have to be moved to lie where the teacher's do."""

from __future__ import annotations

import importlib.util
from typing import Any, ClassVar

import torch

from edgekd.distill.features import at_most, positions, same_channels, unit_scale
from edgekd.distill.losses.base import LOSSES, Loss, Reads, Seen
from edgekd.errors import MissingDependencyError


def _points(loss: str, seen: Seen, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both features as sets of points `[batch, points, channels]`, over the teacher's root mean square."""
    student, teacher = seen.student.features[0], seen.teacher.features[0]
    same_channels(loss, student, teacher)
    count = min(count, *(positions(x).shape[1] for x in (student, teacher)))
    return unit_scale(positions(at_most(student, count)), positions(at_most(teacher, count)))


@LOSSES.register
class WassersteinSliced(Loss):
    """The mean over random directions of the squared 2-Wasserstein distance of the positions' projections.

    A feature is a set of as many points as it has positions, in as many dimensions as it has channels; which position
    a point comes from does not count. Features are averaged down to the same number of points.

    Args:
        directions: Drawn anew for every batch, from the seed and the number of the batch.
        points: Most positions of a feature.
        seed: Of the directions.

    Source: Bonneel, Rabin, Peyre and Pfister 2015, "Sliced and Radon Wasserstein Barycenters of Measures", Journal of
    Mathematical Imaging and Vision 51, the sliced distance; between features of teacher and student as in Chen, Wang,
    Gan, Liu, Henao and Carin 2021, "Wasserstein Contrastive Representation Distillation", CVPR, arXiv:2012.08674.
    Deviation: between the positions of an example instead of the examples of a batch.
    """

    name: ClassVar[str] = "wasserstein-sliced"
    reads: ClassVar[Reads] = "each"
    aligned: ClassVar[bool] = True
    batches: torch.Tensor

    def __init__(self, *, directions: int = 32, points: int = 64, seed: int = 0) -> None:
        super().__init__()
        if min(directions, points) < 1:
            raise ValueError("at least 1 direction and 1 point")
        self.directions, self.points, self.seed = directions, points, seed
        self.register_buffer("batches", torch.tensor(0))

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the mean over directions and ranks, `[batch]`."""
        student, teacher = _points(self.name, seen, self.points)
        count = min(student.shape[1], teacher.shape[1])
        student, teacher = at_most(student, count), at_most(teacher, count)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.batches))
        # From single precision, so that the directions are the same whatever the features are in.
        drawn = torch.randn(student.shape[2], self.directions, generator=generator).to(student)
        directions = drawn / drawn.norm(dim=0)
        if self.training:
            self.batches += 1
        ours, theirs = ((x @ directions).sort(1).values for x in (student, teacher))
        difference: torch.Tensor = (ours - theirs).square().mean((1, 2))
        return difference


@LOSSES.register
class WassersteinSinkhorn(Loss):
    """The Sinkhorn divergence of the positions under the squared distance over channels.

    As `WassersteinSliced`, with the whole transport plan instead of projections, computed by POT.

    Args:
        regularization: Of the plan, in units of the teacher's mean square; smaller is nearer to Wasserstein's distance.
        iterations: Most steps of Sinkhorn's algorithm.
        points: Most positions of a feature; the work grows with its square.

    Source: Feydy, Sejourne, Vialard, Amari, Trouve and Peyre 2019, "Interpolating between Optimal Transport and MMD
    using Sinkhorn Divergences", AISTATS, equation 3, arXiv:1810.08278; Cuturi 2013, arXiv:1306.0895. The gradient is
    that at the plan reached, without that of the iterations. Deviation: within an example, as `WassersteinSliced`.
    """

    name: ClassVar[str] = "wasserstein-sinkhorn"
    reads: ClassVar[Reads] = "each"
    aligned: ClassVar[bool] = True

    def __init__(self, *, regularization: float = 0.1, iterations: int = 100, points: int = 16) -> None:
        super().__init__()
        if regularization <= 0 or min(iterations, points) < 1:
            raise ValueError("a regularization above 0, at least 1 iteration and 1 point")
        if importlib.util.find_spec("ot") is None:
            raise MissingDependencyError(
                f"loss '{self.name}'",
                expected="the library POT",
                found="none",
                hint="pip install 'edgekd[transport]', or use wasserstein-sliced.",
            )
        self.regularization, self.iterations, self.points = regularization, iterations, points

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the divergence, `[batch]`."""
        student, teacher = _points(self.name, seen, self.points)
        own = self._transport(student, student) + self._transport(teacher, teacher)
        return (self._transport(student, teacher) - 0.5 * own).clamp(min=0.0)

    def _transport(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the regularized cost of the plan, `[batch]`, per channel."""
        from ot.batch import solve_batch

        costs = (first[:, :, None] - second[:, None]).square().mean(3)
        solved: Any = solve_batch(
            costs, reg=self.regularization, max_iter=self.iterations, tol=1e-9, method="log_sinkhorn", reg_type="kl"
        )
        value: torch.Tensor = solved.value
        return value
