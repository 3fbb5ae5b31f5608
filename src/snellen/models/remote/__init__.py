"""Models on servers: addresses, permission, retries, and the record of what was sent."""
