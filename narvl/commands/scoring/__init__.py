"""``narvl score``, one file a task."""
