"""What a vector does when it is added to the model: search, trials, controls, result."""
