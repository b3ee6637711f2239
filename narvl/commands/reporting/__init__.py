"""``narvl report``, one file a task."""
