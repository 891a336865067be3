"""Job schema, plan per task, the sampling loop, media in and out, command line."""
