"""Start the processes that train together: on this machine, on several, or on the nodes of a Slurm job."""
