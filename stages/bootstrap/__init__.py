"""What mlci.pyz does first: `entry` for any Python, `start` and `environment` in the right one, `call` for a Jenkins
step."""
