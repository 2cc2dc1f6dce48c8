"""Stage download: where stories come from, cleaning, the split."""
