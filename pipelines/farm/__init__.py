"""What a batch of thousands needs beside the engine: a manifest, units of rows, stations that render them, a report."""
