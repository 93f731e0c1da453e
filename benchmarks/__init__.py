"""Speed and memory, side by side with what a user would take instead. See README.md."""
