"""Running a repository's own tests: pytest in a process of its own, and the candidate served for them."""
