"""The models that come with DeepLens, newest last."""

from deeplens.embedding.model import ModelProfile, ModelRef, Thresholds

BUILT_IN_MODEL = ModelRef("deeplens-visual", "2", 512)
BUILT_IN_MODELS = (
    ModelProfile(ModelRef("deeplens-visual", "1", 512), Thresholds(0.97, 0.62, 0.5)),
    ModelProfile(BUILT_IN_MODEL, Thresholds(0.97, 0.72, 0.55)),
)
"""As in the manifests of the endpoint, so that labels work before the first request to it."""
