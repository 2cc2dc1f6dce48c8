"""What takes the disk, and how to get it back."""
