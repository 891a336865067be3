"""The queue and the one worker that renders its rows."""
