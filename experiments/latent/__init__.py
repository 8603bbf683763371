"""What the autoencoder's and the VAE's experiments are made of."""
