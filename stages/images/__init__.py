"""Container images of models: what goes in, how they are built, where they are kept.

base → locked dependencies → mlci's serving modules → model. Each step has a tag that names its content, so that a
retrained model rebuilds and moves its own layer alone.
"""
