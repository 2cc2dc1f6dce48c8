"""Work on many items, in processes of this machine or on a Ray cluster, with the results in order."""
