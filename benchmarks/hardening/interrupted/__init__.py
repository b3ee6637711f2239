"""What interruptions.py is made of: commands to stop, ways to stop them, and what must be true afterwards."""
