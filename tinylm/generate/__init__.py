"""Stage generate: stories of the model and of its checkpoints, judged beside those of people."""
