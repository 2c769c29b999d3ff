"""Shows the product at work in two minutes: traffic in, numbers out, and a proof that they are the same."""
