"""Generated scenes: rooms and streets, ray cast with exact targets."""
