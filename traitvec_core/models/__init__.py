"""Language models: loading, reading their activations, steering them."""
