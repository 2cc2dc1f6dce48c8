"""`make bench`: measure this project on this machine, next to comparable software."""
