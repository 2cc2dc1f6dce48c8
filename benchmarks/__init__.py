"""`make bench`: what this machine does, beside what else there is."""
