"""The parts of a dubbing: its timeline, where the face and its mouth are, what is shown of it, and one window made."""
