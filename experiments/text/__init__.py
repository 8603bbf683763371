"""What the experiments on captions share."""
