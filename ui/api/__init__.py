"""Jobs and results over HTTP, beside the page: what programs may ask, and what they are told."""
