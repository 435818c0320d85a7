"""Run graphs with onnxruntime, on CUDA if it is available and on the CPU otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .batching import Floats

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    """Run a graph from one of its inputs to one of its outputs, in the precision that it was exported with."""

    def __init__(self, path: Path, source: str, result: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads would take cores from decoding and from other calls.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        if CUDA in available:
            # CUDA and cuDNN from wheels are not on the loader's path.
            onnxruntime.preload_dlls()
        providers = [provider for provider in (CUDA, CPU) if provider in available]
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._source, self._result = source, result
        types = {info.name: info.type for info in self._session.get_inputs()}
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
        """Return the output as float32 for an input of any numeric type."""
        # The tensor may be unaligned, because a JSON header of any length precedes it.
        inputs = np.require(values, self._dtype, ("C", "A"))
        if self.on_gpu:
            result = self.run_bound(inputs, "cuda")
        else:
            (result,) = self._session.run([self._result], {self._source: inputs})
        return np.asarray(result, np.float32)

    def run_bound(self, inputs: Any, device: str) -> Any:
        """Run with input and output bound to the device, so that onnxruntime copies each exactly once."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._source, onnxruntime.OrtValue.ortvalue_from_numpy(inputs, device, 0))
        binding.bind_output(self._result, device)
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]
