"""What the commands that turn images into images share."""
