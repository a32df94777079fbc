"""What pagoda predict does beyond one process."""
