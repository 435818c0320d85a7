"""Videos as files with ranged reads in, frames as JPEGs out; functions on PyAV (FFmpeg)."""
