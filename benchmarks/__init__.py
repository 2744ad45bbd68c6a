"""What the loss costs in time and memory, beside what one would write without this package."""
