"""One front-end for pictures and clips of one's own: where they are, what belongs to them, their order, their caches.

    assets      bytes of a file, of a stretch of a tar, of a cell of a table
    example     one thing to train on: media, captions, boxes, mask, layers, sound, how often and how much
    folder, metadata, tars, tables, huggingface    the kinds of sources; each makes an `Index`
    parts, boxes, rows                             what stands beside a picture, and what a row of metadata says
    pixels, clips                                  decoding and fitting; nothing else looks at pixels
    buckets, order                                 which sizes there are, and which examples make which batch
    cache                                          latents and prompt encodings by content
    dataset                                        all of it together: what a trainer asks
    findings, checks, likeness, costs              what `training/preflight.py` puts together

Nothing here loads torch.
"""
