"""PSFs estimated from beads, from optics, and from images."""
