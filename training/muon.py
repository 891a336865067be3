"""Muon over matrices of one shape at once: torch's own steps them one by one, in dozens of small kernels each.

The update is `torch.optim.Muon`'s, bit for bit where kernels of stacked products are those of single ones: momentum,
Newton-Schulz iteration in bfloat16, where the machine is fast in it (Jordan et al.,
https://kellerjordan.github.io/posts/muon/), and the RMS of an AdamW step (2502.16982). Shape suffixes: K matrices of
one shape, M rows, N columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from models.precision import fast_bfloat16


class StackedMuon(torch.optim.Muon):
    """`torch.optim.Muon` without weight decay and with the RMS of an AdamW step; the state is the same.

    Args:
        matrices: what is stepped.
        lr: the rate.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step every matrix that has a gradient; returns what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in alike.items():
                update = self._update(matrices, group)
                rate = 0.2 * max(shape) ** 0.5 * group["lr"]
                torch._foreach_add_(matrices, list(update.unbind()), alpha=-rate)
        return loss

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> Tensor:
        """[K, M, N] orthogonal updates."""
        grads = [matrix.grad for matrix in matrices if matrix.grad is not None]  # all of them, see `step`
        moving = []
        for matrix, grad in zip(matrices, grads, strict=True):
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            moving.append(state["momentum_buffer"])
        torch._foreach_lerp_(moving, grads, 1 - group["momentum"])
        ahead = torch._foreach_lerp(grads, moving, group["momentum"]) if group["nesterov"] else moving
        return orthogonal(torch.stack(ahead), group["ns_coefficients"], group["ns_steps"], group["eps"]).to(moving[0])


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """[K, M, N]: each matrix with its singular values near 1, by `steps` of Newton-Schulz.

    In bfloat16, or in float32 where the machine is slow in that.
    """
    a, b, c = coefficients
    found = matrices.bfloat16() if fast_bfloat16(matrices.device.type) else matrices.float()
    tall = found.shape[1] > found.shape[2]
    if tall:
        found = found.mT
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found
