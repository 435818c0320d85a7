"""Build ``deeplens-visual``: a fixed filter bank and a small learnt network, side by side in one ONNX graph.

Both branches see the same views of procedural images and give 256 dimensions of length 1 each, so that a cosine is the
mean of theirs. No photo and no downloaded weight is used. About two hours on two cores; views, features and network are
kept in the working folder, so that an interrupted run goes on:

    uv sync --group training
    python -m functions.inference_endpoint.training.build --work /tmp/deeplens-visual
"""

import argparse
import hashlib
import json
from pathlib import Path

import rich

from functions.inference_endpoint.model import of_length_one
from functions.inference_endpoint.training import network
from functions.inference_endpoint.training.discriminants import bank_features, discriminants
from functions.inference_endpoint.training.fused import BRANCH, FOLDER, manifest_of, model_of
from functions.inference_endpoint.training.graph import Graph
from functions.inference_endpoint.training.learn import ROUNDS, nearest, train
from functions.inference_endpoint.training.views import training_set

IMAGES, VIEWS, SEED = 16_000, 8, 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--views", type=int, default=VIEWS, help="of each image")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--work", type=Path, default=Path("training-work"), help="folder for views and network, 6 GB")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    views = training_set(options.work / "views.npy", options.images, options.views, options.seed)
    features = bank_features(options.work / "views.npy")
    mean, projection = discriminants(features, BRANCH)
    neighbours = nearest(of_length_one((features[:, 0] - mean) @ projection))
    learnt = train(views, neighbours, ROUNDS, options.seed, options.work)
    graph = Graph()
    body = model_of(graph, mean, projection, network.write(graph, "pixels", learnt)).SerializeToString()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "model.onnx").write_bytes(body)
    (options.out / "manifest.json").write_text(json.dumps(manifest_of(body), indent=2) + "\n")
    rich.print(f"{options.out / 'model.onnx'}: {len(body) / 1e6:.1f} MB, sha256 {hashlib.sha256(body).hexdigest()}")


if __name__ == "__main__":
    main()
