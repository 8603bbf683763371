"""Images made from images: of pairs (pix2pix), and of two domains without pairs (CycleGAN)."""
