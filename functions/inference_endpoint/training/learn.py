"""Train the network, so that a copy is nearer to its original than every other image of the batch.

The loss is InfoNCE (van den Oord et al., 2018) between a mild and a strong view, and KoLeo (Sablayrolles et al., ICLR
2019), which spreads the features over the sphere, as SSCD does for copy detection (Pizzi et al., CVPR 2022). After a
first round with random batches, batches contain groups of images that are similar for the bank, so that the network
learns their differences: mined negatives, as in Radenović et al. (TPAMI 2019).
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
from functions.inference_endpoint.training.views import MILD_VIEWS, Views

BATCH, TEMPERATURE, KOLEO_WEIGHT = 256, 0.05, 0.3
WEIGHT_DECAY, WARM_UP_SHARE = 0.02, 0.05
GROUP, NEIGHBOURS = 8, 15
"""Images per group, and the number of nearest neighbours from which an image's group is drawn."""
SMALL_SIDE, LARGE_SIDE = 96, 128
"""Most steps use smaller images, which cost half as much; the last steps use the size of the served model."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of training.

    Attributes
    ----------
    rate : maximum learning rate.
    mined : batches consist of groups of similar images.
    large_share : share of steps, at the end, with large images.
    """

    steps: int
    rate: float
    mined: bool
    large_share: float


ROUNDS = (
    Round(1300, 2.5e-3, mined=False, large_share=0.2),
    Round(700, 1.2e-3, mined=True, large_share=0.3),
    Round(1500, 2e-3, mined=True, large_share=0.3),
)

type Numbers = npt.NDArray[np.int64]


def train(views: Views, neighbours: Numbers, rounds: tuple[Round, ...], seed: int, work: Path) -> Network:
    """Train all rounds and return the network; rounds with a checkpoint in ``work`` are skipped.

    Parameters
    ----------
    neighbours : indices of the images most similar to each image, shape (images, 15).
    """
    network = Network().to(memory_format=torch.channels_last)
    for number, plan in enumerate(rounds):
        checkpoint = work / f"network-{number}.pt"
        if not checkpoint.exists():
            _train_round(network, views, neighbours, plan, seed + number, f"round {number + 1} of {len(rounds)}")
            torch.save(network.state_dict(), checkpoint)
        network.load_state_dict(torch.load(checkpoint, weights_only=True))
    return network.eval()


def nearest(embedding: npt.NDArray[np.float32], count: int = NEIGHBOURS) -> Numbers:
    """Return the indices of the ``count`` nearest other rows of each row of unit length, unordered."""
    blocks = []
    for start in range(0, len(embedding), 1000):
        similarity = embedding[start : start + 1000] @ embedding.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -2
        blocks.append(np.argpartition(-similarity, count, axis=1)[:, :count])
    return np.concatenate(blocks)


def _train_round(network: Network, views: Views, neighbours: Numbers, plan: Round, seed: int, title: str) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(network.parameters(), plan.rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, plan.steps, pct_start=WARM_UP_SHARE)
    network.train()
    with Progress() as progress:
        task = progress.add_task(title, total=plan.steps)
        for step in range(plan.steps):
            side = LARGE_SIDE if step >= plan.steps * (1 - plan.large_share) else SMALL_SIDE
            batch = _mined_batch(rng, neighbours) if plan.mined else rng.choice(len(views), BATCH, replace=False)
            loss = _loss(network, *_pairs(rng, views, np.sort(batch), side))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, description=f"{title}, loss {loss.item():.3f}")


def _mined_batch(rng: np.random.Generator, neighbours: Numbers) -> Numbers:
    """Return a batch of groups of similar images, without repetitions."""
    seeds = rng.choice(len(neighbours), BATCH * 5 // (4 * GROUP), replace=False)
    groups = [seeds, *(rng.choice(neighbours[image], GROUP - 1, replace=False) for image in seeds)]
    images = np.unique(np.concatenate(groups))
    return rng.choice(images, min(BATCH, len(images)), replace=False)


def _loss(network: Network, mild: Tensor, strong: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        features = network(torch.cat([mild, strong])).float()
    first, second = features.chunk(2)
    similarity = first @ second.T / TEMPERATURE
    target = torch.arange(len(first))
    contrast = (functional.cross_entropy(similarity, target) + functional.cross_entropy(similarity.T, target)) / 2
    return contrast + KOLEO_WEIGHT * _koleo(first)


def _koleo(features: Tensor) -> Tensor:
    """Return minus the mean logarithm of the distance to the nearest other row."""
    with torch.no_grad():
        nearest = (features @ features.T).fill_diagonal_(-2).argmax(1)
    return -torch.log((features - features[nearest]).norm(dim=1) + 1e-4).mean()


def _pairs(rng: np.random.Generator, views: Views, batch: Numbers, side: int) -> tuple[Tensor, Tensor]:
    mild = views[batch, rng.integers(0, MILD_VIEWS, len(batch))]
    strong = views[batch, rng.integers(0, views.shape[1], len(batch))]
    return _jitter(rng, mild, side, 0.05), _jitter(rng, strong, side, 0.2)


def _jitter(rng: np.random.Generator, views: Views, side: int, change: float) -> Tensor:
    """Return tensors (n, 3, side, side) with a random zoom, shift, rotation and tint, so that no view repeats."""
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
