"""What leaves mlci with a model inside: a wheel for product code, an application for files."""
