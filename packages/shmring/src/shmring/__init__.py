"""shmring."""
