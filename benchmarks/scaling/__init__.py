"""How a step with negatives from other processes scales: measured on this CPU, and predicted for GPUs."""
