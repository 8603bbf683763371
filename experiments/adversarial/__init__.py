"""What the experiments with generators and discriminators are made of."""
