"""Stands for a layer's package: only importable where the template names the layer."""

NAME = "toy layer"
