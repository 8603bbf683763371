"""What the experiment with plans through mazes is made of."""
