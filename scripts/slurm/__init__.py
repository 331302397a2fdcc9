"""A sweep's workers as jobs of a Slurm cluster."""
