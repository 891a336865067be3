"""The one sampling loop, and the scheduler layer under it. Every task runs through here.

Times are flow matching's: noise level sigma 1 is pure noise and 0 is data. The schedulers are diffusers'.
Shape suffixes: B jobs, N picture tokens, C numbers in a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from models.mmdit import AuxiliaryHead, MMDiT
from models.plan import TokenPlan

if TYPE_CHECKING:
    from pipelines.engine import Work
    from pipelines.files.media import Pixels
    from pipelines.job import Job
    from pipelines.preview import Seen

Progress = Callable[[int, int], bool]


class Told(Protocol):
    """What the model is told beside plan, prompts and time, step by step."""

    def __call__(self, share: float, guided: bool) -> Mapping[str, Any]:
        """Further arguments of the model in one step.

        Args:
            share: of the steps, how many are done.
            guided: whether the batch comes again for what knows less, the last time without its prompts.
        """


class Cancelled(Exception):
    """The progress callback asked to stop; nothing is wrong."""


@dataclass(frozen=True)
class Guidance:
    """How predictions are combined.

    Args:
        scale: classifier-free guidance (2207.12598), stock's convention: 1 is none.
        interval: noise levels at which it acts (2404.07724).
        internal: Internal Guidance scale w in D_aux + w (D - D_aux) (2512.24176); None is off.
        conditions: scales of further conditions, which are taken away one after another before the prompt is:
            v = v_0 + scale (v_text - v_0) + conditions[0] (v_text,speech - v_text), as InstructPix2Pix (2211.09800, 3)
            orders picture and text.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    internal: float | None = None
    conditions: tuple[float, ...] = ()

    def acts_at(self, sigma: float) -> bool:
        """Whether what knows less has to be computed at this noise level."""
        return max(self.scale, *self.conditions, 0) > 1 and self.interval[0] <= sigma <= self.interval[1]


def build_scheduler(name: str, config: Mapping[str, Any], steps: int, tokens: int, start: float = 1.0) -> Any:
    """A diffusers scheduler with its timesteps set.

    Args:
        name: euler | heun | unipc | dpm++.
        config: the checkpoint's scheduler configuration.
        steps: sampling steps. Heun evaluates the model twice in all but the last.
        tokens: picture tokens N, for resolution-dependent shift where the checkpoint asks for it.
        start: the noise level to start from. Below 1 the same number of steps is taken, all of them shorter.
    """
    scheduler = _whole_scheduler(name, config, steps, tokens)
    if start != 1.0:
        scheduler.sigmas, scheduler.timesteps = scheduler.sigmas * start, scheduler.timesteps * start
    return scheduler


def _whole_scheduler(name: str, config: Mapping[str, Any], steps: int, tokens: int) -> Any:
    """A scheduler whose steps lead all the way from noise to data."""
    import diffusers
    import numpy as np
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    dynamic = bool(config.get("use_dynamic_shifting", False))
    mu = compute_empirical_mu(image_seq_len=tokens, num_steps=steps)
    sigmas = np.linspace(1.0, 1 / steps, steps)
    if name == "euler":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config)
        scheduler.set_timesteps(sigmas=sigmas, mu=mu)
        return scheduler
    shift = float(np.exp(mu)) if dynamic else float(config.get("shift", 1.0))
    if name == "heun":
        scheduler = diffusers.FlowMatchHeunDiscreteScheduler(shift=shift)
        scheduler.set_timesteps(steps)
        return scheduler
    options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift}
    if name == "unipc":
        scheduler = diffusers.UniPCMultistepScheduler(**options)
    elif name == "dpm++":
        scheduler = diffusers.DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", **options)
    else:
        raise ValueError(f"no scheduler {name!r}; expected euler, heun, unipc or dpm++")
    scheduler.set_timesteps(steps)
    return scheduler


def draw_noise(seeds: Sequence[int], channels: int, height: int, width: int, frames: int = 1) -> Tensor:
    """[B, frames * height * width, C] standard normal noise, one CPU generator for each job.

    A job's noise depends on its seed and shape alone, whatever batch or device it is rendered in. For one frame it
    is the noise that stock FLUX.2 pipelines draw.
    """
    rows = []
    for seed in seeds:
        generator = torch.Generator("cpu").manual_seed(seed)
        latent = torch.randn((frames, channels, height, width), generator=generator)
        rows.append(latent.permute(0, 2, 3, 1).reshape(-1, channels))
    return torch.stack(rows)


@torch.no_grad()
def sample(
    model: MMDiT,
    plan: TokenPlan,
    noise: Tensor,
    context: Tensor,
    scheduler: Any,
    guidance: Guidance,
    *,
    negative: Tensor | None = None,
    between: Sequence[Tensor] = (),
    clean: Tensor | None = None,
    auxiliary: AuxiliaryHead | None = None,
    told: Told | None = None,
    progress: Progress | None = None,
    seen: Seen | None = None,
) -> Tensor:
    """Turn noise into tokens along the plan; given tokens are put back clean after every step.

    Args:
        model: predicts velocities.
        plan: the task. Its given picture tokens come from `clean` and stand at timestep 0.
        noise: [B, N, C] in the plan's request order.
        context: [B, N_context, X] prompt (and speech) features.
        scheduler: from `build_scheduler`.
        guidance: scales; with a scale above 1 `negative` is needed.
        negative: [B, N_context, X] features of the negative prompts.
        between: [B, N_context, X] for each of `guidance.conditions` the context without it and those before it.
        clean: [B, N, C] clean tokens; only the plan's given ones are read.
        auxiliary: the head behind `guidance.internal`.
        told: what else the model is told at each step.
        progress: called with (step, steps) after each model step; False cancels.
        seen: called at each model step with what makes the estimate [B, N, C] of the clean tokens, see `foreseen`.

    Raises:
        Cancelled: `progress` said so.
        ValueError: guidance without what it needs, or given tokens without `clean`.
    """
    if guidance.scale > 1 and negative is None:
        raise ValueError("guidance above 1 needs the negative prompt's context")
    if len(between) != len(guidance.conditions):
        raise ValueError(f"expected a context for each of {len(guidance.conditions)} conditions, got {len(between)}")
    if guidance.internal is not None and auxiliary is None:
        raise ValueError("Internal Guidance needs a checkpoint with an auxiliary head")
    device, dtype = model.device, model.dtype
    given = torch.from_numpy(plan.given[plan.context_tokens :]).to(device)
    if given.any() and clean is None:
        raise ValueError("the plan has given tokens but no clean tokens came with it")
    x = noise.to(device)
    if clean is not None:
        clean = clean.to(x)
        x = torch.where(given[:, None], clean, x)
    context = context.to(device, dtype)
    # From what knows most to what knows least, with the scales of the steps between them.
    rungs = list(zip(guidance.conditions, between, strict=True))
    if negative is not None and guidance.scale > 1:
        rungs.append((guidance.scale, negative))
    every = torch.cat([context, *(rung.to(device, dtype) for _, rung in rungs)])
    halves = 1 + len(rungs)
    head = auxiliary if guidance.internal is not None else None
    scheduler.set_begin_index(0)
    timesteps = scheduler.timesteps
    for index, timestep in enumerate(timesteps):
        # Float32 times 1e-3 as stock does it, so that both see the same number.
        time = timestep.to(device).expand(len(x)).to(dtype) / 1000
        guided = guidance.acts_at(float(timestep) / 1000)
        tokens = torch.cat([x] * halves).to(dtype) if guided else x.to(dtype)
        times = torch.cat([time] * halves) if guided else time
        more = {} if told is None else told(index / len(timesteps), guided)
        output = model(tokens, every if guided else context, times, plan=plan, auxiliary=head, **more)
        velocity = output.sample
        if guidance.internal is not None:
            velocity = torch.lerp(output.auxiliary, velocity, guidance.internal)
        if guided:
            ladder = velocity.chunk(halves)
            velocity = ladder[-1]
            for (scale, _), more_told, less_told in reversed(list(zip(rungs, ladder, ladder[1:], strict=False))):
                velocity = velocity + scale * (more_told - less_told)
        if seen is not None:
            seen(partial(foreseen, x, velocity, float(timestep) / 1000, given, clean))
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
        if clean is not None:
            x = torch.where(given[:, None], clean, x)
        if progress is not None and not progress(index + 1, len(timesteps)):
            raise Cancelled
    return x


def foreseen(x: Tensor, velocity: Tensor, sigma: float, given: Tensor, clean: Tensor | None) -> Tensor:
    """[B, N, C] where the flow leads from `x` if it went on straight: x - sigma v; given tokens are as they are.

    On the way from noise to data x is (1 - sigma) x0 + sigma noise and v is noise - x0.
    """
    x0 = x - sigma * velocity.to(x.dtype)
    return x0 if clean is None else torch.where(given[:, None], clean, x0)


def denoise(
    work: Work,
    job: Job,
    plan: TokenPlan,
    noise: Tensor,
    context: Tensor,
    negative: Callable[[], Tensor],
    *,
    weaker: Sequence[tuple[float, Tensor]] = (),
    clean: Tensor | None = None,
    told: Told | None = None,
    begin: Tensor | None = None,
    start: float = 1.0,
) -> Tensor:
    """`sample` with a job's settings and a checkpoint's components: how every pipeline calls the loop.

    Args:
        work: the checkpoint, and whom to tell of progress.
        job: steps, scheduler and guidance; where several share a batch, any of them.
        plan: the task.
        noise: [B, N, C], see `draw_noise`.
        context: [B, N_context, X] prompt (and speech) features.
        negative: gives the same of the negative prompts; called only where they are needed.
        weaker: scale and context for each further condition, see `Guidance.conditions`.
        clean: [B, N, C], see `sample`.
        told: see `sample`.
        begin: [B, N, C] tokens to start from with noise of level `start`, instead of from noise alone.
        start: see `build_scheduler`.
    """
    checkpoint = work.checkpoint
    description = checkpoint.description
    scale = 1.0 if description.distilled else job.guidance
    generated = int((~plan.given[plan.context_tokens :]).sum())
    scheduler = build_scheduler(job.scheduler, description.scheduler, job.steps, generated, start)
    if begin is not None:
        noise = torch.lerp(begin.to(noise), noise, float(scheduler.sigmas[0]))
    return sample(
        checkpoint.transformer,
        plan,
        noise,
        context,
        scheduler,
        Guidance(scale, job.guidance_interval, job.internal_guidance, tuple(push for push, _ in weaker)),
        negative=negative() if scale > 1 else None,
        between=[context for _, context in weaker],
        clean=clean,
        auxiliary=checkpoint.auxiliary,
        told=told,
        progress=work.progress,
        seen=None if work.preview is None else work.preview.of(plan, checkpoint.codec),
    )


def to_pixels(rgba: Tensor) -> list[Pixels]:
    """[B, F, 4, H, W] in 0..1 to B opaque clips [F, H, W, 3] in uint8.

    Where pictures are opaque their alpha is 1 but for rounding, so the premultiplied colours are the colours.
    """
    pixels: list[Pixels] = list((rgba[:, :, :3] * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy())
    return pixels
