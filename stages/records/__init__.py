"""What a stage leaves behind: folders that are whole or absent, records of what they came from, and why a stage
runs again."""
