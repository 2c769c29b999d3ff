"""Builders for tests of every service."""
