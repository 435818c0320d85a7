"""onnxruntime, on CUDA where it is found and on the CPU otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .batching import Floats

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    """A graph with one input of interest and one output, in the precision that the graph was exported with."""

    def __init__(self, path: Path, source: str, result: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that spin for work take the cores from decoding and from neighbours.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        if CUDA in available:
            # CUDA and cuDNN from wheels are not where the loader looks.
            onnxruntime.preload_dlls()
        chosen = [provider for provider in (CUDA, CPU) if provider in available]
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=chosen)
        self._source, self._result = source, result
        types = {one.name: one.type for one in self._session.get_inputs()}
        if source not in types:
            raise ValueError(f"the graph has no input {source}, only {', '.join(types)}")
        self._dtype = {"tensor(float16)": np.float16, "tensor(int64)": np.int64}.get(types[source], np.float32)

    @property
    def providers(self) -> list[str]:
        return list(self._session.get_providers())

    @property
    def on_gpu(self) -> bool:
        return self.providers[0] == CUDA

    def run(self, values: Any) -> Floats:
        """The output for an input of any numeric type, float32."""
        # A tensor behind a JSON header of any length may start at any byte.
        given = np.require(values, self._dtype, ("C", "A"))
        found = (
            self.run_bound(given, "cuda")
            if self.on_gpu
            else self._session.run([self._result], {self._source: given})[0]
        )
        return np.asarray(found, np.float32)

    def run_bound(self, given: Any, device: str) -> Any:
        """With input and output bound to the device, so that onnxruntime copies each exactly once."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._source, onnxruntime.OrtValue.ortvalue_from_numpy(given, device, 0))
        binding.bind_output(self._result, device)
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]
