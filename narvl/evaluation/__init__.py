"""One definition of each metric: what was generated, and how good it is."""
