"""The command ``twinauth``."""
