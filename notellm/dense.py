"""Reads a linear map that is stored as sentence-transformers stores its `Dense`."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn


def read_dense(path: Path) -> nn.Linear:
    """The map of a `model.safetensors`, in float32, with or without bias.

    Raises:
        SafetensorError: the file is not of this format.
        RuntimeError: its tensors are not those of a linear map.
    """
    state = {name.removeprefix("linear."): tensor.float() for name, tensor in load_file(path).items()}
    weight = state.get("weight")
    # Any shape will do for a file without weights: loading it says what is missing.
    outputs, inputs = weight.shape if weight is not None and weight.ndim == 2 else (1, 1)  # noqa: PLR2004
    linear = nn.Linear(inputs, outputs, bias="bias" in state)
    linear.load_state_dict(state)
    return linear
