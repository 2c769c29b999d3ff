"""Changes of an organisation's numbers, pushed to those who watch."""
