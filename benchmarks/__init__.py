"""Speed, as ratios inside one run. Tests never judge wall-clock; these print it."""
