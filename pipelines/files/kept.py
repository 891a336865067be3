"""The folder, among a folder's outputs, of all that is not an output itself: thumbnails, the bin, finished scenes."""

KEPT = ".diorama"
