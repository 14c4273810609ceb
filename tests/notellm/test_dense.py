from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from notellm.dense import read_dense


@pytest.mark.parametrize("prefix", ["linear.", ""])
@pytest.mark.parametrize("bias", [True, False])
def test_a_map_is_read_back_in_float32(tmp_path: Path, prefix: str, bias: bool) -> None:
    made = torch.nn.Linear(4, 2, bias=bias).half()
    save_file({prefix + name: value for name, value in made.state_dict().items()}, tmp_path / "model.safetensors")
    found = read_dense(tmp_path / "model.safetensors")
    assert (found.in_features, found.out_features, found.bias is not None) == (4, 2, bias)
    assert found.weight.dtype == torch.float32
    torch.testing.assert_close(found.weight, made.weight.float())


@pytest.mark.parametrize("content", [{"bias": torch.zeros(2)}, {"weight": torch.zeros(4)}, {"weights": torch.zeros(2, 4)}])
def test_other_tensors_are_refused(tmp_path: Path, content: dict[str, torch.Tensor]) -> None:
    save_file(content, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="state_dict"):
        read_dense(tmp_path / "model.safetensors")
