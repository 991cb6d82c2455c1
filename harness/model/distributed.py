"""The ranks that train one program together, as one of them sees them. One alone does all of it itself: nothing here.

Rank 0 leads: it alone holds leases, looks into the store, decides and writes; `first` tells the others. Who is who is
read from the environment, as torchrun and submitit's TorchDistributedEnvironment export it: RANK, WORLD_SIZE,
LOCAL_RANK, MASTER_ADDR, MASTER_PORT. The number of ranks, and whether they shard the model, are no part of a program:
each rank takes its slice of every global batch, and a state is stored as whole tensors.

    ranks = join()                                                   # on every rank; a process alone: Ranks()
    model = ranks.placed(model, local_device()); module = ranks.replicated(model)
    batch = batch[ranks.slice(len(batch))]; (stop,) = ranks.any(stop)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

MEETING = timedelta(minutes=10)  # until all ranks are there; after that they cannot reach each other
# A rank that waits, for a corpus to be built or for its next work, is not stuck. One that died closes its connections.
PATIENCE = timedelta(days=30)
T = TypeVar("T")


@dataclass
class Ranks:
    """This process among those that train together. `sharding`: none (DDP: each holds the model) or fsdp (a part)."""

    rank: int = 0
    count: int = 1
    sharding: str = "none"
    parted: bool = False  # an error took this rank elsewhere than the others: they can do nothing together any more

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def slice(self, sequences: int) -> slice:
        """Which sequences of a global batch are this rank's; the number of ranks divides them."""
        assert sequences % self.count == 0, f"{self.count} ranks do not divide {sequences} sequences"
        share = sequences // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def first(self, make: Callable[[], T]) -> T:
        """What `make()` gives on rank 0, which alone calls it, on every rank."""
        if self.count == 1:
            return make()
        box = [make() if self.leads else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is up on any rank: the same answer everywhere."""
        if self.count == 1:
            return flags
        up = torch.tensor(flags, dtype=torch.int32)  # on the CPU: a GPU goes on working meanwhile
        dist.all_reduce(up, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in up.tolist())

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Element by element, over the ranks."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def placed(self, model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
        """The model on the device: whole, or this rank's part of every tensor, moved there layer by layer."""
        if self.count == 1 or self.sharding == "none":
            return model.to(device)  # type: ignore[arg-type,no-any-return]
        mesh = init_device_mesh(device.type, (self.count,))
        # reshard_after_forward for the root, too: its parameters are read, measured and saved between two steps.
        for layer in [layer for layer in model.modules() if type(layer).__name__ in (model._no_split_modules or ())]:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
        return model

    def replicated(self, model: PreTrainedModel) -> torch.nn.Module:
        """What a training step calls: the model, in DDP where every rank holds all of it."""
        if self.count == 1 or self.sharding == "fsdp":
            return model
        # No buffer changes in training; sent again before each forward pass they would only cost time.
        return DistributedDataParallel(model, forward_sync_buffers=False, gradient_as_bucket_view=True)


@cache
def join() -> Ranks:
    """This process's ranks: those that the environment names, if any, are met. Blocks until all are there.

    Raises a DistError of torch's if they are not in ten minutes.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return Ranks()
    local_device()  # before NCCL looks for one
    store, rank, _ = next(rendezvous("env://", timeout=MEETING))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    return Ranks(rank, count)


def local_device() -> torch.device:
    """The GPU of this rank, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def accumulating(module: torch.nn.Module, last: bool) -> AbstractContextManager[None]:
    """Around a micro-batch: DDP sums gradients over the ranks once, after the last. FSDP does after each, for to keep
    them until then every rank would have to hold those of the whole model."""
    if isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return contextlib.nullcontext()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, gathered from all ranks if it is sharded (then every rank has to call)."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copy_whole(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Copy a whole tensor into one that may be sharded, on each rank its part, and return that one."""
    if isinstance(target, DTensor):
        rows = -(-len(source) // target.device_mesh.size())  # as torch.chunk, and so FSDP, cuts them
        first = target.device_mesh.get_local_rank() * rows
        target.to_local().copy_(source[first : first + rows])
    else:
        target.copy_(source)
    return target
