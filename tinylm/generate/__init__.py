"""Stage generate: stories of the final model and of the checkpoints, with metrics beside those of human stories."""
