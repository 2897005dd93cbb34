"""Where models go live. A target is one module with the same five verbs: build, prove, switch, watch, restore."""
