"""Train the learnt branch: a copy must be nearer to its original than any other image of the batch is.

InfoNCE (van den Oord et al., 2018) between a mild and a strong view, and KoLeo (Sablayrolles et al., ICLR 2019), which
spreads the features over the sphere, as SSCD does for copy detection (Pizzi et al., CVPR 2022). After a first round of
random batches, batches are groups of images that the bank finds alike, so that the network learns what tells those
apart: mined negatives, as in Radenović et al. (TPAMI 2019).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional

from functions.inference_endpoint.training.network import Network
from functions.inference_endpoint.training.views import MILD, Views

BATCH, TEMPERATURE, SPREAD = 256, 0.05, 0.3
DECAY, WARM_UP = 0.02, 0.05
GROUP, NEIGHBOURS = 8, 15
"""Images of a group: one, and some of those that are most like it."""
SMALL_SIDE, LARGE_SIDE = 96, 128
"""Most steps see smaller images, which cost half as much; the last ones the size that is served."""


@dataclass(frozen=True, slots=True)
class Round:
    """``large`` is the share of steps, at the end, that see the large side."""

    steps: int
    rate: float
    alike: bool
    large: float


ROUNDS = (
    Round(1300, 2.5e-3, alike=False, large=0.2),
    Round(700, 1.2e-3, alike=True, large=0.3),
    Round(1500, 2e-3, alike=True, large=0.3),
)

type Numbers = npt.NDArray[np.int64]


def train(views: Views, neighbours: Numbers, rounds: tuple[Round, ...], seed: int, work: Path) -> Network:
    """The network after all rounds; what each left in ``work`` is used as it is.

    Parameters
    ----------
    neighbours : numbers of the images most like each, shape (images, 15).
    """
    network = Network().to(memory_format=torch.channels_last)
    for number, one in enumerate(rounds):
        checkpoint = work / f"network-{number}.pt"
        if not checkpoint.exists():
            _round(network, views, neighbours, one, seed + number, f"round {number + 1} of {len(rounds)}")
            torch.save(network.state_dict(), checkpoint)
        network.load_state_dict(torch.load(checkpoint, weights_only=True))
    return network.eval()


def nearest(embedding: npt.NDArray[np.float32], count: int = NEIGHBOURS) -> Numbers:
    """Numbers of the ``count`` nearest others of each row of unit length, in no order."""
    found = []
    for start in range(0, len(embedding), 1000):
        likeness = embedding[start : start + 1000] @ embedding.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -2
        found.append(np.argpartition(-likeness, count, axis=1)[:, :count])
    return np.concatenate(found)


def _round(network: Network, views: Views, neighbours: Numbers, plan: Round, seed: int, title: str) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(network.parameters(), plan.rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, plan.steps, pct_start=WARM_UP)
    network.train()
    with Progress() as progress:
        task = progress.add_task(title, total=plan.steps)
        for step in range(plan.steps):
            side = LARGE_SIDE if step >= plan.steps * (1 - plan.large) else SMALL_SIDE
            chosen = _alike(rng, neighbours) if plan.alike else rng.choice(len(views), BATCH, replace=False)
            loss = _step(network, *_pairs(rng, views, np.sort(chosen), side))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, description=f"{title}, loss {loss.item():.3f}")


def _alike(rng: np.random.Generator, neighbours: Numbers) -> Numbers:
    """A batch of groups, each image once."""
    seeds = rng.choice(len(neighbours), BATCH * 5 // (4 * GROUP), replace=False)
    groups = [seeds, *(rng.choice(neighbours[one], GROUP - 1, replace=False) for one in seeds)]
    together = np.unique(np.concatenate(groups))
    return rng.choice(together, min(BATCH, len(together)), replace=False)


def _step(network: Network, mild: Tensor, strong: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        features = network(torch.cat([mild, strong])).float()
    first, second = features.chunk(2)
    likeness = first @ second.T / TEMPERATURE
    own = torch.arange(len(first))
    contrast = (functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)) / 2
    return contrast + SPREAD * _spread(first)


def _spread(features: Tensor) -> Tensor:
    """KoLeo: minus the mean logarithm of the distance to the nearest other."""
    with torch.no_grad():
        nearest = (features @ features.T).fill_diagonal_(-2).argmax(1)
    return -torch.log((features - features[nearest]).norm(dim=1) + 1e-4).mean()


def _pairs(rng: np.random.Generator, views: Views, chosen: Numbers, side: int) -> tuple[Tensor, Tensor]:
    mild = views[chosen, rng.integers(0, MILD, len(chosen))]
    strong = views[chosen, rng.integers(0, views.shape[1], len(chosen))]
    return _prepared(rng, mild, side, 0.05), _prepared(rng, strong, side, 0.2)


def _prepared(rng: np.random.Generator, views: Views, side: int, change: float) -> Tensor:
    """Tensors (n, 3, side, side) after a little zoom, shift, turn and colour of each, so that no view repeats."""
    pixels = torch.from_numpy(views).permute(0, 3, 1, 2).float().div_(255)
    count = len(pixels)
    turn, zoom = rng.normal(0, change * 0.4, count), np.exp(rng.normal(0, change, (2, count)))
    mirror = np.where(rng.random(count) < 0.5, -1, 1)
    affine = np.zeros((count, 2, 3))
    affine[:, 0, 0], affine[:, 0, 1] = np.cos(turn) * zoom[0] * mirror, -np.sin(turn)
    affine[:, 1, 0], affine[:, 1, 1] = np.sin(turn), np.cos(turn) * zoom[1]
    affine[:, :, 2] = rng.normal(0, change, (count, 2)) * 0.5
    grid = functional.affine_grid(torch.from_numpy(affine).float(), [count, 3, side, side], align_corners=False)
    moved = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    gain = torch.from_numpy(np.exp(rng.normal(0, change, (count, 3, 1, 1)))).float()
    return (moved * gain).clamp_(0, 1).contiguous(memory_format=torch.channels_last)
