"""The viewer's page in a real browser."""
