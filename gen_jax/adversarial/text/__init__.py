"""Images made from texts: embeddings of both, games under a text, and the style of an image."""
