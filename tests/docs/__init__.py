"""What the documents promise: examples that run, links that lead somewhere."""
