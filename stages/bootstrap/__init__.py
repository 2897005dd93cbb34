"""What mlci.pyz does first: `entry` for any Python, `start` in the right one, `call` for a Jenkins step."""
