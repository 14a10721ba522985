"""Where memories are kept. ``base`` is the interface; ``sqlite`` the default implementation."""
