"""Images made from images: pairs of them, two domains, and conditions computed from images."""
