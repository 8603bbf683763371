"""What the training of the shipped classifiers is made of."""
