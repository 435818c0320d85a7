"""A package of a layer, which is importable only if the template names the layer."""

NAME = "toy layer"
