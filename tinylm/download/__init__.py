"""Stage download: sources of stories, cleaning, deduplication, and the train/validation split."""
