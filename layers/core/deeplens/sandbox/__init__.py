"""Run decoders of untrusted files in a child process that can reach nothing."""
