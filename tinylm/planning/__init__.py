"""What a run will cost and reach, before it starts; and the scaling law behind that."""
