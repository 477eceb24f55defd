"""Drives seen by six cameras at once: the folder format, its writer, and the dataset."""
