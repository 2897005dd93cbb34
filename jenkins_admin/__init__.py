"""The admin client: provisions Jenkins for mlci and triggers its jobs."""
