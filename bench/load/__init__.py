"""What the benches send: bodies that look like an agent program's, and who posts them."""
