"""The service: requests in, answers out; the same in a process, a container and a test."""

#: Variable of a service, and file of a version, that say why a model serves that the gate did not approve.
OVERRIDE, OVERRIDE_FILE = "MLCI_MODEL_OVERRIDE", "override.json"
