"""FSDP2 as torch documents it: weights, gradients and optimiser state are sharded over all processes, on GPUs and on CPUs.

accelerate is not used for this: on a CPU it silently trains with plain data parallelism instead of FSDP2, and its single precision
for all parameters would round τ.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from training.config import TrainingConfig
from training.errors import ConfigError
from training.model.model import TrainingModel
from training.precision import on_this_machine


def shard(model: TrainingModel, config: TrainingConfig) -> TrainingModel:
    """Shards the model in place: each layer separately, τ separately in float32, everything else together.

    Raises:
        ConfigError: the command was not started by torchrun.
    """
    if not dist.is_initialized():
        raise ConfigError(
            "compute.fsdp shards over processes: start with `torchrun --nproc-per-node N -m training.cli train …`"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    if on_this_machine(config.compute.precision) == "bfloat16":
        # Inputs are not cast: they include the number of output tokens and cached gradients, which must not be rounded.
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    else:
        policy = MixedPrecisionPolicy()
    fully_shard(model.temperature, mesh=mesh)
    layers: Any = model.note_llm.causal_lm.model.layers
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model
