"""HTTP and gRPC: what the outside may ask of a server."""
