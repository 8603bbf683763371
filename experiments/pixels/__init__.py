"""What the experiments with PixelCNNs, PixelRNNs and WaveNet are made of."""
