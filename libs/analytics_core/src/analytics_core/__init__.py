"""What the analytics services must agree on."""
