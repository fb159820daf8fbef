"""What can be typed: each command's arguments and options, and nothing of what it does."""
