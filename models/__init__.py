"""Token plan, structural attention, MM-DiT, codec, prompt encoder and checkpoints."""
