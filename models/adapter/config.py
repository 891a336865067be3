"""What is trained, as configuration. Nothing here loads torch, so that a run file can be read without it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["lora", "dora", "scale_shift", "soft_prompt", "siamese", "full"]
KINDS: tuple[Kind, ...] = ("lora", "dora", "scale_shift", "soft_prompt", "siamese", "full")

# Attention and MLP of both kinds of blocks. What stock's training of FLUX.2 [klein] takes by default is the attention
# of the picture stream in double blocks, and the fused projections of single ones: those of these without `add_`,
# `to_add_out` and `linear_`.
BLOCKS = (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    "linear_in", "linear_out", "to_qkv_mlp_proj", "to_out",
)  # fmt: skip

# Which fields say something about which kinds.
MEANT_FOR = {
    "rank": ("lora", "dora"),
    "alpha": ("lora", "dora"),
    "modules": ("lora", "dora", "scale_shift"),
    "tokens": ("soft_prompt",),
}


class AdapterConfig(BaseModel):
    """What of a checkpoint is trained; everything else stays as it is.

    | kind | paper | what is learnt |
    |---|---|---|
    | `lora` | 2106.09685 | a product of two low-rank matrices beside each chosen one |
    | `dora` | 2402.09353 | the same for directions, and the length of each row apart |
    | `scale_shift` | Diffscaler, 2404.09976 | a factor and an offset for each number that a chosen layer puts out |
    | `soft_prompt` | SoftREPA, 2503.08250 | a few vectors that are added at the end of what the prompt encoder found |
    | `siamese` | SiamLayout, 2412.03859 | the layout branch, see `models/siamese.py` |
    | `full` | | the whole transformer |
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field("lora", description="lora, dora, scale_shift, soft_prompt, siamese or full")
    rank: int = Field(16, ge=1, le=1024, description="of the matrices that are learnt")
    alpha: float | None = Field(None, gt=0, description="the product counts alpha / rank; left out, it counts 1")
    modules: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        BLOCKS, description="names of linear layers of the transformer, or their ends, from a dot on"
    )
    tokens: int = Field(4, ge=1, le=512, description="how many vectors a soft prompt has")

    @property
    def scale(self) -> float:
        """What the product of two low-rank matrices is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    @model_validator(mode="after")
    def _fields_are_meant(self) -> AdapterConfig:
        """A field that says nothing about the kind is a slip of the pen."""
        for field, kinds in MEANT_FOR.items():
            if field in self.model_fields_set and self.kind not in kinds:
                raise ValueError(f"{field} says nothing about kind: {self.kind}, only about {', '.join(kinds)}")
        return self
