"""Accelerators: what makes the same transformer learn more in the same time, each a small object on one tap.

    accelerator          the interface: what every one of them has, and what a forward pass shows it
    internal_guidance    an auxiliary head with the same target (2512.24176)
    layer_sync           an early block follows a deeper one (2510.12581)
    deferred_masking     most blocks see a share of the tokens (2407.15811)
    stratified_times     the times of a batch are spread evenly
    label_alignment      a block is asked what the renderer knows of each token
    lip_alignment        speech and a block are asked how the mouth is held

An entry of `accelerators:` in a run file is such an object. To add one, write its file and name it in `Accelerators`.
Nothing here loads torch before it trains.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .accelerator import Accelerator as Accelerator
from .accelerator import AuxiliaryLoss as AuxiliaryLoss
from .accelerator import Seen as Seen
from .accelerator import Sizes as Sizes
from .accelerator import Spoken as Spoken
from .deferred_masking import DeferredMasking as DeferredMasking
from .internal_guidance import InternalGuidance as InternalGuidance
from .label_alignment import LabelAlignment as LabelAlignment
from .layer_sync import LayerSync as LayerSync
from .lip_alignment import LipAlignment as LipAlignment
from .stratified_times import StratifiedTimes as StratifiedTimes

Accelerators = Annotated[
    InternalGuidance | LayerSync | DeferredMasking | StratifiedTimes | LabelAlignment | LipAlignment,
    Field(discriminator="name"),
]
