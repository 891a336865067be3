"""What makes a step take less time and changes none of its numbers beyond rounding, and a stop and a start not at all.

Frozen weights of linear layers are kept in bfloat16 beside those in float32, where autocast would make that copy again
in each pass: the numbers are the same. Compiled blocks fuse all that is between the matrices. A block is compiled for
each shape by itself and never for shapes in general: what a shape's code is must not depend on which shapes came
before, or a run that was stopped would go on with other code than one that was not. The last batches of epochs, which
may have any number of samples, are not compiled for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

SHAPES = 512  # that a block is compiled for at most, with and without gradients; a run's buckets are fewer


class Speed:
    """What is done for the speed of a transformer's training.

    Args:
        transformer: with what is trained in it.
        half: whether the arithmetic is in bfloat16.
        compiled: whether its blocks are compiled.
        say: is told in a sentence where they can not be.
    """

    def __init__(self, transformer: Any, half: bool, compiled: bool, say: Callable[[str], None]) -> None:
        self._held: list[tuple[Tensor, Tensor]] = []
        if half:
            frozen = (each.weight for each in transformer.modules() if isinstance(each, nn.Linear))
            self._held = [
                (weight, weight.data.bfloat16())
                for weight in dict.fromkeys(frozen)
                if weight.dtype == torch.float32 and not weight.requires_grad
            ]
        self.compiled = compiled and _compiles(say)
        if self.compiled:
            torch._dynamo.config.recompile_limit = SHAPES
            torch._dynamo.config.accumulated_recompile_limit = 8 * SHAPES
            for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
                block.compile(dynamic=False)

    @contextmanager
    def training(self, full: bool = True) -> Iterator[None]:
        """Around a forward and a backward pass of the training; batches that are not `full` have too many sizes."""
        self._exchange()
        try:
            with nullcontext() if full else self.looking():
                yield
        finally:
            self._exchange()

    def looking(self) -> AbstractContextManager[Any]:
        """Around all else that the model is asked: its own shapes are not worth compiling for."""
        return torch.compiler.set_stance("force_eager" if self.compiled else "default")

    def _exchange(self) -> None:
        for place, (weight, other) in enumerate(self._held):
            self._held[place] = (weight, weight.data)
            weight.data = other


def _compiles(say: Callable[[str], None]) -> bool:
    """Whether torch can compile here: it needs a compiler for the machine, and is tried."""
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.ones(8))
    except Exception as error:  # whatever is missing raises its own
        why = (str(error) or type(error).__name__).splitlines()[0][:160]
        say(f"blocks are not compiled, for torch can not compile here ({why}); the run goes on without")
        return False
    return True
