"""The grammar of Papercut's prompts: its words, how they are read, and where a reader would put the things."""
