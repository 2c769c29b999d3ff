"""Programs for people who develop or try the product; nothing here is part of a deployed service."""
