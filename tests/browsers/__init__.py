"""What the page of the trained models does, in three browsers without a network."""
