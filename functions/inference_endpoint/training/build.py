"""Build ``deeplens-visual``: a fixed filter bank and a small trained network as two branches of one ONNX graph.

Both branches are trained on the same views of procedural images and return 256 dimensions of length 1 each, so that a
cosine is the mean of theirs. Training uses no photos and no downloaded weights, and takes about two hours on two cores.
The working folder keeps views and networks, so that an interrupted run resumes:

    uv sync --group training
    python -m functions.inference_endpoint.training.build --work /tmp/deeplens-visual
"""

import argparse
import hashlib
import json
from pathlib import Path

import rich

from functions.inference_endpoint.model import l2_normalise
from functions.inference_endpoint.training import network
from functions.inference_endpoint.training.discriminants import bank_features, discriminants
from functions.inference_endpoint.training.fused import BRANCH_DIMENSIONS, FOLDER, manifest_of, model_of
from functions.inference_endpoint.training.graph import Graph
from functions.inference_endpoint.training.learn import ROUNDS, nearest, train
from functions.inference_endpoint.training.views import training_set

IMAGES, VIEWS, SEED = 16_000, 8, 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--views", type=int, default=VIEWS, help="views per image")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--work", type=Path, default=Path("training-work"), help="folder for views and network, 6 GB")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    views = training_set(options.work / "views.npy", options.images, options.views, options.seed)
    features = bank_features(options.work / "views.npy")
    mean, projection = discriminants(features, BRANCH_DIMENSIONS)
    neighbours = nearest(l2_normalise((features[:, 0] - mean) @ projection))
    trained = train(views, neighbours, ROUNDS, options.seed, options.work)
    graph = Graph()
    body = model_of(graph, mean, projection, network.write(graph, "pixels", trained)).SerializeToString()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "model.onnx").write_bytes(body)
    (options.out / "manifest.json").write_text(json.dumps(manifest_of(body), indent=2) + "\n")
    rich.print(f"{options.out / 'model.onnx'}: {len(body) / 1e6:.1f} MB, sha256 {hashlib.sha256(body).hexdigest()}")


if __name__ == "__main__":
    main()
