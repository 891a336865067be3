"""The run on pictures of one's own: from a run file whose preflight passed to an adapter that jobs can name.

    config      the sections of a run file beside `data:` and `train:`
    chance      noise and times as pure functions of seed, step and sample
    store       latents, masks and prompt encodings of the run's data, from the caches
    inputs      the tensors of a step, in the order of the run
    objective   velocity matching with masks and prior preservation
    optimizers  AdamW, and its 8-bit form where a library has one that works
    speed       what makes a step take less time
    steps       one optimiser step
    checkpoints folders that are whole or not there, with a manifest that is checked
    note        what a checkpoint says beside its tensors, to tell whose it is
    heldout     the loss on a fixed grid of samples, noises and times
    sheet       pictures of fixed prompts and seeds
    log         log.jsonl and TensorBoard
    result      what a run has made, written from the tensors of a state
    loop        all of it together

Only `config` is read before the preflight; it loads no torch.
"""
