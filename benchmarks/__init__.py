"""Measures the time and the memory of the loss beside those of code that one would write without this package."""
