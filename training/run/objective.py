"""The objective: velocity matching on the plans that rendering uses, with masks and prior preservation.

z_t = (1 - t) x + t e with data x and noise e; the velocity is e - x (SiT, 2401.08740).
Shape suffixes: B samples, N tokens, C numbers in a token; K boxes, L tokens of a prompt, X width of its features.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.siamese import Layout, SiameseBranch, mean_words
from pipelines.layout import TokenBox, layout_plan, token_box
from pipelines.text import text_plan

from .config import LossConfig
from .inputs import Inputs

if TYPE_CHECKING:
    from models.checkpoint import Description
    from models.plan import TokenPlan


class Objective:
    """Losses of batches.

    Boxes are told by the plan, as `mechanism: plan` of a layout job tells them; where the siamese branch is what is
    trained, by the branch and nothing else.

    Args:
        model: the transformer, with what is trained in it.
        untrained: a context in which the model is the one that the run began with, for the whole of a batch or a part.
        description: the checkpoint's dialect.
        loss: weights.
        branch: the siamese branch where it is what is trained.
        most: of this process' number of passes, the most that any makes; the model is asked as often.
    """

    def __init__(
        self,
        model: Any,
        untrained: Callable[[bool], AbstractContextManager[Any]],
        description: Description,
        loss: LossConfig,
        branch: SiameseBranch | None = None,
        most: Callable[[int], int] = int,
    ) -> None:
        self.model, self.untrained, self.description = model, untrained, description
        self.loss, self.branch, self.most = loss, branch, most

    def __call__(self, inputs: Inputs) -> Tensor:
        """[B] the loss of each sample."""
        learnt, kept = weights(inputs, self.loss)
        velocity = self.velocity(inputs)
        error = learnt * (velocity - (inputs.noise - inputs.clean)).square().mean(-1)
        rows = kept.any(1)
        if self.most(int(rows.any())):
            # Only samples that count are asked about; where others have some and this process none, its first one is.
            those = rows.nonzero()[:, 0] if rows.any() else torch.zeros(1, dtype=torch.long, device=rows.device)
            whole = len(those) == len(rows)
            with torch.no_grad(), self.untrained(whole):
                before = self.velocity(inputs if whole else inputs.rows(those))
            away = kept[those] * (velocity[those] - before).square().mean(-1)
            error = error.index_add(0, those, away)
        return error.sum(1) / (learnt + kept).sum(1).clamp(min=1e-6)

    def velocity(self, inputs: Inputs) -> Tensor:
        """[B, N, C] what the model predicts, in float32. Samples of one plan go through it together."""
        noisy = torch.lerp(inputs.clean, inputs.noise, inputs.times[:, None, None].expand_as(inputs.clean))
        by_boxes: dict[tuple[TokenBox, ...], list[int]] = {}
        for row in range(len(noisy)):
            boxes = () if self.branch is not None else self._token_boxes(inputs, row)
            by_boxes.setdefault(boxes, []).append(row)
        parts, rows = [], []
        asked = [*by_boxes.items()]
        # Where others have more plans, the first is asked again, and its answer is not used.
        asked += asked[:1] * (self.most(len(asked)) - len(asked))
        for number, (boxes, those) in enumerate(asked):
            told = [inputs.told[row] for row in those]
            context = torch.stack([each.features[: 1 + len(boxes)].flatten(0, 1) for each in told])
            output = self.model(
                noisy[those],
                context,
                inputs.times[those],
                plan=self._plan(inputs, boxes),
                siamese=self._layout(inputs),
            )
            if number < len(by_boxes):
                parts.append(output.sample.float())
                rows += those
            else:  # its backward pass gathers as the others' do
                parts[0] = parts[0] + 0 * output.sample.float()
        order = torch.tensor(rows, device=noisy.device).argsort()
        return torch.cat(parts)[order]

    def _plan(self, inputs: Inputs, boxes: tuple[TokenBox, ...]) -> TokenPlan:
        bucket, length = inputs.bucket, self.description.prompt_tokens
        if not boxes:
            return text_plan(length, bucket.h, bucket.w, bucket.frames)
        placed = self.description.prompts_at_boxes
        return layout_plan(length, bucket.h, bucket.w, boxes, placed=placed, regional=True)

    def _token_boxes(self, inputs: Inputs, row: int) -> tuple[TokenBox, ...]:
        """A sample's boxes in tokens; of clips none, for no plan has both."""
        if inputs.bucket.frames > 1:
            return ()
        return tuple(token_box(edges, inputs.bucket.h, inputs.bucket.w) for edges in inputs.told[row].boxes)

    def _layout(self, inputs: Inputs) -> Layout | None:
        """All samples' boxes for the branch, with null tokens where one has fewer than another or is told nothing."""
        if self.branch is None:
            return None
        most = max(1, *(len(told.boxes) for told in inputs.told))
        like = inputs.told[0].features
        boxes, present = like.new_zeros(len(inputs.told), most, 4, dtype=torch.float32), []
        features = like.new_zeros(len(inputs.told), most, like.shape[-1])
        for row, told in enumerate(inputs.told):
            count = len(told.boxes)
            if count:
                boxes[row, :count] = torch.tensor(told.boxes, device=like.device)
                features[row, :count] = mean_words(told.features[1:], told.words[1:])
            present.append([k < count and not told.nothing for k in range(most)])
        return Layout(self.branch, boxes, features, torch.tensor(present, device=like.device))


def weights(inputs: Inputs, loss: LossConfig) -> tuple[Tensor, Tensor]:
    """[B, N] what each token's distance from the data counts, and what that from the untrained model's prediction.

    White of a mask is learnt from the data; black counts `outside` there, and `prior` in the other. Samples that are
    there to keep what the model knew count in the other alone (prior preservation as OneTrainer has it).
    """
    white = torch.ones_like(inputs.clean[..., 0]) if inputs.learnt is None else inputs.learnt
    prior = inputs.prior[:, None]
    learnt = torch.where(prior, 0.0, white + (1 - white) * loss.outside)
    kept = torch.where(prior, 1.0, (1 - white) * loss.prior)
    return learnt, kept
