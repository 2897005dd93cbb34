"""Python environments that mlci makes on an agent and keeps. Standard library alone: nothing else is there yet."""
