"""Schemes and back projectors whose parameters are learned."""
