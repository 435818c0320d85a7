"""Train the learnt branch: a copy must be nearer to its original than any other image of the batch is.

InfoNCE (van den Oord et al., 2018) between a mild and a strong view, and KoLeo (Sablayrolles et al., ICLR 2019), which
spreads the features over the sphere, as SSCD does for copy detection (Pizzi et al., CVPR 2022).
"""

from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional

from functions.inference_endpoint.training.network import Network
from functions.inference_endpoint.training.views import MILD, Views

BATCH, TEMPERATURE, SPREAD = 256, 0.05, 0.3
RATE, DECAY, WARM_UP = 2.5e-3, 0.02, 0.05
SMALL_SIDE, LARGE_SIDE, LARGE_SHARE = 96, 128, 0.2
"""Most steps see smaller images, which cost half as much; the last ones the size that is served."""


def train(views: Views, steps: int, seed: int, checkpoint: Path) -> Network:
    """The network after ``steps``; one found in ``checkpoint`` is used as it is."""
    torch.manual_seed(seed)
    network = Network().to(memory_format=torch.channels_last)
    if checkpoint.exists():
        network.load_state_dict(torch.load(checkpoint, weights_only=True))
        return network.eval()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=WARM_UP)
    rng = np.random.default_rng(seed)
    with Progress() as progress:
        task = progress.add_task("training", total=steps)
        for step in range(steps):
            side = LARGE_SIDE if step >= steps * (1 - LARGE_SHARE) else SMALL_SIDE
            loss = _step(network, *_pairs(rng, views, side))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.update(task, advance=1, description=f"training, loss {loss.item():.3f}")
    torch.save(network.state_dict(), checkpoint)
    return network.eval()


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


def _pairs(rng: np.random.Generator, views: Views, side: int) -> tuple[Tensor, Tensor]:
    chosen = np.sort(rng.choice(len(views), BATCH, replace=False))
    mild = views[chosen, rng.integers(0, MILD, BATCH)]
    strong = views[chosen, rng.integers(0, views.shape[1], BATCH)]
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
