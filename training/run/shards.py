"""Shards: every process holds a part of each weight, its gradient and its optimiser's state (FSDP2).

A block's weights are gathered for its forward and its backward pass and let go of after; gradients are summed where
they are scattered. All processes have to make the same passes in the same order, or they wait for each other for ever.
Sources: PyTorch FSDP (2304.11277), and torch's `fully_shard`, which accelerate's second version of FSDP is made of;
accelerate itself shards on a GPU alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

if TYPE_CHECKING:
    from models.mmdit import MMDiT


class Shards:
    """The weights of a transformer over the processes of a run; where it is not `on`, each has all of them.

    Args:
        on: whether they are sharded.
        accelerator: the processes.
    """

    def __init__(self, on: bool, accelerator: Accelerator) -> None:
        self.on, self.accelerator = on, accelerator

    def spread(self, transformer: MMDiT) -> None:
        """Shard a transformer, whose weights are the same in all processes, each block by itself."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = init_device_mesh(self.accelerator.device.type, (self.accelerator.num_processes,))
        for part in (*transformer.transformer_blocks, *transformer.single_transformer_blocks, transformer):
            fully_shard(part, mesh=mesh)
            assert isinstance(part, FSDPModule)
            part.set_gradient_divide_factor(1.0)  # the shares of samples already make a sum the mean
            part.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sum

    def most(self, count: int) -> int:
        """The largest of all processes' counts, so that they make as many passes."""
        if not self.on:
            return count
        counts = self.accelerator.gather(torch.tensor([count], device=self.accelerator.device))
        return int(counts.max())


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts of all processes; one that is not sharded as it is."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor as `weight` is: on its device, and sharded where it is sharded. A copy."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    tensor = tensor.to(weight.device, copy=True)
    if not isinstance(weight, DTensor) or tensor.shape != weight.shape:
        return tensor
    # Every process has read all of it.
    return distribute_tensor(tensor, weight.device_mesh, weight.placements, src_data_rank=None)
