"""Images with captions: what each shows, what each caption says, and the letters of it."""
