"""The platform database ``deeplens_platform``."""
