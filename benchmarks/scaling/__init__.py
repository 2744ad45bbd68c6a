"""A step with negatives from other processes, measured on this CPU and predicted for GPUs."""
