"""The version of Diorama, stated once: packaging, the command line and every record read it here."""

__version__ = "0.1.0"
