"""How many requests a caller may send: kept in Redis for all replicas, in the process while Redis is away."""
