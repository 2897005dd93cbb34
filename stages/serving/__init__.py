"""The service: requests in, answers out; the same in a process, a container and a test."""
