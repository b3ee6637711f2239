"""What is fuzzed, a module each: ``build(folder)`` returns the cases. ``runner`` runs them."""
