"""From one job to many: lists, wildcards and tables in its fields; presets fill them."""
