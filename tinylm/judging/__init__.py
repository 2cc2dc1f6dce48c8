"""What stories are worth: figures that need no judge, and marks by people."""
