"""The MM-DiT: diffusers' `Flux2Transformer2DModel` run by a token plan.

Only `forward` differs from the parent: loading, saving, LoRA, quantization and offload stay diffusers'.
Shape suffixes: B batch, N tokens of both streams, D width, K noise levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from diffusers import Flux2Transformer2DModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_flux2 import Flux2Modulation
from torch import Tensor, nn

from .attention import JointProcessor, Kernel, ParallelProcessor, Program, compile_plan
from .plan import TokenPlan

if TYPE_CHECKING:
    from .siamese import Layout, Run


@dataclass
class MMDiTOutput:
    """Velocities and hidden states of the picture stream, in request order.

    Attributes:
        sample: [B, N_picture, C] predicted velocity.
        auxiliary: [B, N_picture, C] the auxiliary head's velocity, where a head was passed.
        taps: block index -> [B, N_picture, D] hidden states after that block (double blocks first).
    """

    sample: Tensor
    auxiliary: Tensor | None = None
    taps: dict[int, Tensor] = field(default_factory=dict)

    def __getitem__(self, index: int) -> Tensor:
        return (self.sample,)[index]


class AuxiliaryHead(ModelMixin, ConfigMixin):
    """A second output head on an early block (Internal Guidance, 2512.24176): the model's own weaker self.

    Args:
        width: D of the transformer.
        out_channels: numbers in a picture token.
        block: the block whose hidden states it reads, double blocks counted first.
    """

    @register_to_config
    def __init__(self, width: int, out_channels: int, block: int) -> None:
        super().__init__()
        self.block = block
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width, bias=False)
        self.proj_out = nn.Linear(width, out_channels, bias=False)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """[B, N, D] hidden states and [B, N or 1, D] timestep embeddings to [B, N, C] velocities."""
        scale, shift = self.modulation(nn.functional.silu(embedding)).chunk(2, -1)
        out: Tensor = self.proj_out(self.norm(hidden) * (1 + scale) + shift)
        return out


class MMDiT(Flux2Transformer2DModel):
    """`Flux2Transformer2DModel` with a plan, a timestep per token, taps and an auxiliary head.

    Called without a plan it is the parent, so stock pipelines can hold it.
    """

    def use_plans(self, kernel: Kernel | None = None) -> MMDiT:
        """Install the attention processors that execute plans; plain calls give the parent's numbers.

        `kernel` computes the attention of a group; None leaves the choice to torch and diffusers.
        """
        processors = {
            name: JointProcessor(kernel) if name.startswith("transformer_blocks") else ParallelProcessor(kernel)
            for name in self.attn_processors
        }
        self.set_attn_processor(processors)
        return self

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        *args: Any,
        plan: TokenPlan | None = None,
        guidance: Tensor | None = None,
        given: Tensor | None = None,
        keep: Tensor | None = None,
        taps: Sequence[int] = (),
        auxiliary: AuxiliaryHead | None = None,
        siamese: Layout | None = None,
        **kwargs: Any,
    ) -> Any:
        """Predict the velocity of every picture token.

        Args:
            hidden_states: [B, N_picture, C] noisy and given picture tokens in request order.
            encoder_hidden_states: [B, N_context, joint_attention_dim] prompt and speech features in request order.
            timestep: [B] in 0..1, the step's time, where given tokens stand at 0; or [B, N] one for each token.
            plan: positions and visibility of all tokens. None: the parent's forward with `args` and `kwargs`.
            given: [B, N] which tokens stand at 0, in place of the plan's, for batches whose samples differ in it.
            keep: [K] picture tokens that go on after the double blocks: deferred masking (MicroDiT, 2407.15811), with
                the double blocks as patch mixer. Everything returned is of these tokens then.
            guidance: [B] embedded guidance, for checkpoints distilled with it.
            taps: indices of blocks whose hidden states to return.
            auxiliary: the head to run on the block that it names.
            siamese: boxes and their branch, which adds to what the attention of some blocks finds.
            *args: the parent's further arguments, for calls without a plan.
            **kwargs: the same.

        Returns:
            `MMDiTOutput`; without a plan whatever the parent returns.

        Raises:
            ValueError: token counts or shapes of timestep and given that do not fit the plan.
        """
        if plan is None:
            return super().forward(hidden_states, encoder_hidden_states, timestep, *args, guidance=guidance, **kwargs)
        _check(plan, hidden_states, encoder_hidden_states, timestep, given)
        program = compile_plan(plan, hidden_states.device)
        sort = not program.full
        levels, level_of = _noise_levels(plan, program, timestep.to(hidden_states.dtype), given)
        embedding = self._embed_time(levels, guidance, hidden_states.dtype)  # [B, K, D]

        picture = self.x_embedder(hidden_states)
        context = self.context_embedder(encoder_hidden_states)
        if sort:
            picture, context = picture[:, program.picture_order], context[:, program.context_order]
        of_context = None if level_of is None else level_of[..., program.context_order]
        of_picture = None if level_of is None else level_of[..., program.context + program.picture_order]
        rotary = self._rotary(plan, program)
        attention: dict[str, Any] = {"program": program}
        beside = None
        if siamese is not None:
            now = embedding[:, :1]
            if timestep.ndim == 2:  # the step's time is that of the tokens that are made
                now = self._embed_time(timestep.amax(1, keepdim=True), guidance, hidden_states.dtype)
            beside = siamese.begin(self, plan, now)

        kept: dict[int, Tensor] = {}
        wanted = set(taps) | ({auxiliary.block} if auxiliary is not None else set())
        modulation = {
            "temb_mod_img": _per_token(self.double_stream_modulation_img(embedding), of_picture),
            "temb_mod_txt": _per_token(self.double_stream_modulation_txt(embedding), of_context),
        }
        for index, block in enumerate(self.transformer_blocks):
            more = {}
            if beside is not None and index in beside:
                normed = _modulated(block.norm1(picture), modulation["temb_mod_img"], 2)
                more = {"beside": self._beside(beside, index, normed, rotary, program)}
            context, picture = self._run(block, picture, context, *modulation.values(), rotary, attention | more)
            if index in wanted:
                kept[index] = picture
        if keep is not None:
            rest = compile_plan(plan.with_pictures(keep.cpu().numpy()), hidden_states.device)
            kept_at = program.picture_inverse[keep][rest.picture_order]
            context = context[:, program.context_order.argsort()[rest.context_order]]
            picture = picture[:, kept_at]
            kept = {index: tap[:, kept_at] for index, tap in kept.items()}
            if level_of is not None and of_picture is not None:
                of_picture = of_picture[..., kept_at]
                level_of = torch.cat([level_of[..., : program.context], level_of[..., program.context + keep]], -1)
            places = _places(program, rest, keep)
            rotary = (rotary[0][places], rotary[1][places])
            program, sort, attention = rest, not rest.full, {"program": rest}
        joint = program.join(context, picture)
        of_joint = None if level_of is None else level_of[..., program.order]
        single = _per_token(self.single_stream_modulation(embedding), of_joint)
        for index, block in enumerate(self.single_transformer_blocks, start=len(self.transformer_blocks)):
            more = {}
            if beside is not None and index in beside:
                of_these = single if of_joint is None else program.part(single)[1]
                normed = _modulated(block.norm(program.part(joint)[1]), of_these, 1)
                gained = self._beside(beside, index, normed, rotary, program)
                more = {"beside": program.join(gained.new_zeros(len(gained), program.context, gained.shape[2]), gained)}
            joint = self._run(block, joint, None, single, rotary, attention | more)
            if index in wanted:
                kept[index] = program.part(joint)[1]
        picture = program.part(joint)[1]

        output = self._head(picture, _per_token(embedding, of_picture))
        second = None
        if auxiliary is not None:
            second = auxiliary(kept[auxiliary.block], _per_token(embedding, of_picture))
        if sort:
            output, second, kept = _restore((output, second, kept), program.picture_inverse)
        return MMDiTOutput(output, second, {index: kept[index] for index in taps})

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def _beside(
        self, beside: Run, block: int, normed: Tensor, rotary: tuple[Tensor, Tensor], program: Program
    ) -> Tensor:
        """[B, N_picture, D] what the siamese branch adds to a block's attention, all in picture plan order."""
        of_picture = tuple(program.part(table[None])[1][0] for table in rotary)
        return beside.take(self._run(*beside.inputs(block, normed, (of_picture[0], of_picture[1]))))

    def _embed_time(self, levels: Tensor, guidance: Tensor | None, dtype: torch.dtype) -> Tensor:
        """[B, K] times in 0..1 to [B, K, D]; the model was trained with times in 0..1000."""
        scaled = None if guidance is None else (guidance.to(dtype) * 1000).repeat_interleave(levels.shape[1])
        embedding: Tensor = self.time_guidance_embed(levels.flatten() * 1000, scaled)
        return embedding.unflatten(0, levels.shape)

    def _rotary(self, plan: TokenPlan, program: Program) -> tuple[Tensor, Tensor]:
        """Cosines and sines of all tokens in joint plan order; cached with the plan."""
        cached = plan.__dict__.setdefault("_rotary", {})
        key = (str(program.order.device), self.config.rope_theta, tuple(self.config.axes_dims_rope))
        if key not in cached:
            positions = torch.from_numpy(plan.positions).to(program.order.device)[program.order]
            cached[key] = self.pos_embed(positions)
        tables: tuple[Tensor, Tensor] = cached[key]
        return tables

    def _head(self, picture: Tensor, embedding: Tensor) -> Tensor:
        """`AdaLayerNormContinuous` and projection, with an embedding for each token."""
        scale, shift = self.norm_out.linear(self.norm_out.silu(embedding).to(picture.dtype)).chunk(2, -1)
        out: Tensor = self.proj_out(self.norm_out.norm(picture) * (1 + scale) + shift)
        return out


def _places(program: Program, rest: Program, keep: Tensor) -> Tensor:
    """[N'] where the tokens of a thinned program, in its plan order, stood in the plan order of the whole one."""
    requested = torch.cat([torch.arange(program.context, device=keep.device), program.context + keep])
    return program.order.argsort()[requested[rest.order]]


def _check(plan: TokenPlan, picture: Tensor, context: Tensor, timestep: Tensor, given: Tensor | None) -> None:
    got = (context.shape[1], picture.shape[1])
    expected = (plan.context_tokens, plan.tokens - plan.context_tokens)
    if got != expected:
        raise ValueError(f"the plan has {expected} context and picture tokens, the call brings {got}")
    if timestep.shape not in ((picture.shape[0],), (picture.shape[0], plan.tokens)):
        raise ValueError(
            f"timestep must be [B] or [B, N] = [{picture.shape[0]}, {plan.tokens}], got {list(timestep.shape)}"
        )
    if given is not None and (given.shape != (picture.shape[0], plan.tokens) or timestep.ndim != 1):
        raise ValueError(
            f"given must be [B, N] = [{picture.shape[0]}, {plan.tokens}] beside a timestep [B], "
            f"got {list(given.shape)} beside {list(timestep.shape)}"
        )


def _noise_levels(
    plan: TokenPlan, program: Program, timestep: Tensor, given: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """[B, K] the levels that occur and [N] or [B, N] which one each token has (None: the single one)."""
    device = program.order.device
    if timestep.ndim == 2:
        return timestep, torch.arange(plan.tokens, device=device)
    if given is not None:
        return torch.stack([timestep, torch.zeros_like(timestep)], 1), given.long()
    if not plan.given.any():
        return timestep[:, None], None
    return torch.stack([timestep, torch.zeros_like(timestep)], 1), torch.from_numpy(plan.given.astype("int64")).to(
        device
    )


def _modulated(normed: Tensor, modulation: Tensor, sets: int) -> Tensor:
    """Normed picture tokens as a block's attention reads them; `modulation` holds `sets` of shift, scale and gate."""
    (shift, scale, _gate), *_ = Flux2Modulation.split(modulation, sets)
    out: Tensor = (1 + scale) * normed + shift
    return out


def _per_token(levels: Tensor, level_of: Tensor | None) -> Tensor:
    """[B, K, X] to [B, N, X]; with one level it stays [B, 1, X] and broadcasts."""
    if level_of is None:
        return levels
    if level_of.ndim == 2:
        return levels.gather(1, level_of[..., None].expand(-1, -1, levels.shape[-1]))
    return levels[:, level_of]


def _restore(values: Any, inverse: Tensor) -> Any:
    """Back to request order, through tuples and dicts."""
    if isinstance(values, tuple):
        return tuple(_restore(value, inverse) for value in values)
    if isinstance(values, dict):
        return {name: _restore(value, inverse) for name, value in values.items()}
    return None if values is None else values[:, inverse]
